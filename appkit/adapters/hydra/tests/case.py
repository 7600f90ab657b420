"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "both": Case({"rank": 3, "alpha": 6, "sequential_rank": 5}, rank=8),
}
