"""What the methods' shared tests train."""

from cases import Case

# a small alpha: R starts near 0, not at 0
CASES = {
    "exact": Case({"rank": 4, "alpha": 2}, rank=4),
    "iterated": Case({"rank": 4, "alpha": 2, "niter": 4}, rank=4),
}
