"""What the methods' shared tests train."""

from cases import Case

CASES = {
    # of random keys: scaled ones, which a certificate has to find, change little where they begin at real tokens
    "plain": Case({"tokens": 5, "init": "normal"}, form="prefix", t0=False),
    "projected": Case({"tokens": 3, "projection": 12}, form="prefix", t0=False),
    "tokens": Case({"tokens": 4, "init": "tokens"}, form="prefix", t0=False),
}
