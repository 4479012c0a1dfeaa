"""Data-set-level scores: integer counts over a split, and metrics that follow from them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
