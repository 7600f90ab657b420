"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "plain": Case({"rank": 4, "ratio": 8}, rank=4),
}
