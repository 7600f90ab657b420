"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "plain": Case({"rank": 4}, rank=8),
}
