"""Training holds the plan, the loop, its checkpoints, and the forecast of memory, disk and time."""
