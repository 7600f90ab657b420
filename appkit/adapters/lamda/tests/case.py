"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "random": Case({"rank": 4, "init": "kaiming"}, rank=4),
    "spectral": Case({"rank": 4, "spread": 2.0}, rank=5),
}
