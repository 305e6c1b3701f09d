"""Dataset distillation with mixtures of experts."""

import lazy_loader

__version__ = "0.1.0"

# What `import moe_distill as md` offers; a name is imported when it is first used, as torch takes seconds.
# `__init__.pyi` says where each is, for this line and for type checkers.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
