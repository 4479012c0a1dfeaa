"""Generators of the Stable Diffusion family."""
