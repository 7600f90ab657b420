"""What the methods' shared tests train."""

from cases import Case

CASES = {"plain": Case({}, form="full", rank=None, bf16=False)}
