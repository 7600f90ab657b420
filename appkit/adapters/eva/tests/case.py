"""What the methods' shared tests train."""

from cases import Case

CASES = {
    # all components are kept and all batches seen, so that the start does not depend on how rows are batched
    "redistributed": Case({"rank": 4, "rho": 3, "tau": 1}, rank=5),
}
