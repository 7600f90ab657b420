"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "randomized": Case({"rank": 4}, rank=8),
    "exact": Case({"rank": 4, "niter": 0, "rslora": False}, rank=8),
}
