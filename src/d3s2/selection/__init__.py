"""Which masks to keep: objectives, the greedy choice, baselines."""
