"""Data-set-level scores: integer counts over a split, and metrics that follow from them."""
