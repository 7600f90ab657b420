"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "whole": Case({"rank": 4}, rank=4),
    "padded": Case({"rank": 5, "alpha": 10}, rank=5),
}
