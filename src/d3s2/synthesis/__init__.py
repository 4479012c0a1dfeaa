"""Guided sampling: generator, teacher and energies make items."""
