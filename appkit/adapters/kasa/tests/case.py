"""What the methods' shared tests train."""

from cases import Case

CASES = {
    # it starts at the truncated base
    "penalized": Case({"rank": 4, "beta": 0.01, "gamma": 0.01}, rank=8, t0=False),
}
