"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "exact": Case({"rank": 4}, rank=8),
    "iterated": Case({"rank": 4, "niter": 4}, rank=8),
}
