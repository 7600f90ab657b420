"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "plain": Case({"rank": 4, "dropout": 0.1}, rank=4),
    "dora": Case({"rank": 4, "dora": True}, rank=4),
}
