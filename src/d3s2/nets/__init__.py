"""Segmentation networks, for teacher and student alike."""
