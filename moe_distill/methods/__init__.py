"""Distillation methods, one paper a file."""

import lazy_loader

# Imported when first used: the configuration reads their published settings without torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
