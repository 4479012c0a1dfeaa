"""Published models: what is known of them, which revision is here, and how their files are loaded safely."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
