"""What the methods' shared tests train."""

from cases import Case

# what `build` makes still equals the base: `before_training` makes the start
CASES = {
    "exact": Case({"rank": 4}, rank=4),
}
