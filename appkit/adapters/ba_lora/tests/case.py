"""What the methods' shared tests train."""

from cases import Case

CASES = {
    "regularized": Case(
        {"rank": 4, "lambda1": 0.5, "lambda2": 0.1, "lambda3": 0.1, "schedule": "constant", "svd_rows": 20},
        rank=8,
    ),
}
