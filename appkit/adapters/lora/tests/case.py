"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "plain": Case({"rank": 4, "dropout": 0.1}, rank=4),
    "dora": Case({"rank": 4, "dora": True}, rank=4),
    "pissa": Case({"rank": 4, "init": "pissa"}, rank=8, nf4=False),
    "olora": Case({"rank": 4, "init": "olora"}, rank=8, nf4=False),
}
