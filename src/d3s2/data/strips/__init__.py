"""Pairs put together of vertical strips of several pairs, each strip at its own place.

What scenes that were taken alike have in common, a horizon or a road, stays where it was, and few pairs hold many rare
objects with what surrounds them. A composed pair is called by the ids of its sources from left to right, 'a|b'; one
strip of a pair by its id and its position, 'a|0'.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
