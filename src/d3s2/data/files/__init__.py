"""Single files: images, masks, MATLAB matrices and lists, each read with errors that name the file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
