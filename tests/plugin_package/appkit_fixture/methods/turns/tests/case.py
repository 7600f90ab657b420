"""What the methods' shared tests train."""

from cases import Case

CASES = {"plain": Case({"rank": 4, "period": 3}, rank=4)}
