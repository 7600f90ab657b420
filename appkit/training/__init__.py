"""Training: the plan, the loop, its checkpoints, and the forecast of what a run needs."""
