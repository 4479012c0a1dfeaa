"""Step fit: teacher, feature bank and generator, loaded where they are there, fitted where not."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
