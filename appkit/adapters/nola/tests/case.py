"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "few": Case({"rank": 4, "bases": 24}, rank=4),
}
