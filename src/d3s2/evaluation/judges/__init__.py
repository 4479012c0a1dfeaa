"""Judges of the synthetic images: what they read of images, and what they say of sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
