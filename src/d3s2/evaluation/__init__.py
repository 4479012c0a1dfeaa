"""Sets, the students trained on them, and the judges of synthetic images."""
