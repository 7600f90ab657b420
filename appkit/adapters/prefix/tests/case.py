"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "plain": Case({"tokens": 5}, form="prefix", t0=False),
    "projected": Case({"tokens": 3, "projection": 12}, form="prefix", t0=False),
    "tokens": Case({"tokens": 4, "init": "tokens"}, form="prefix", t0=False),
}
