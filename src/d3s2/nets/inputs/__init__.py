"""What a network is given: its pixels, windows of a picture, edges that are filled up."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
