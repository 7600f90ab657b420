"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "slora": Case({"rank": 4, "variant": "slora"}, rank=4),
    # the start is not taken out of the base
    "int_tune": Case({"rank": 8, "alpha": 32, "variant": "int_tune"}, rank=8, t0=False),
}
