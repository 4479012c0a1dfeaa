"""Families of segmentation networks of transformers."""
