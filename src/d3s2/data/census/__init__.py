"""The census: pixels of each class in each mask, counted once and kept."""
