"""Any layout-to-image model as one Denoiser: schedules, samplers, the compact model, text-to-image families."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
