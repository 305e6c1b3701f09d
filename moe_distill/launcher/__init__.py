"""The Hydra launcher of this package; Hydra finds it as the top-level namespace package ``hydra_plugins``."""
