"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "pivots": Case({"rank": 8}, rank=8),
    "scale": Case({"rank": 4, "train_scale": True}, rank=4),
}
