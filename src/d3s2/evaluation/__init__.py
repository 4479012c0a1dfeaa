"""Sets, the students trained on them, and the judges of synthetic images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
