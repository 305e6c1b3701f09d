"""FTD: MTT's settings, the decay of the moving average of the images, and α of the teachers' optimiser."""

from typing import Any

from moe_distill.methods.presets.mtt import matching
from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _row(*numbers: Any, ema: float, alpha: float) -> Settings:
    """Return the settings of one row of FTD's table."""
    # α is that of the table; the default of the published program is 0.4.
    teachers = {"networks": 100, "recipe": {"optimizer": {"alpha": alpha}}}
    return {"iterations": 5001, **matching(*numbers), "ema": ema, "teachers": teachers}


PRESETS = {
    DEFAULT: Published(
        "The table in FTD's readme, CIFAR-10 (whitened at least at ipc 10).",
        {
            1: _row(50, 2, 2, "all", 100, 1e-7, 0.01, ema=0.9999, alpha=0.3),
            10: _row(30, 2, 20, "all", 100, 1e-5, 0.001, ema=0.9995, alpha=0.3),
            50: _row(30, 2, 40, "all", 1000, 1e-5, 0.01, ema=0.999, alpha=1.0),
        },
    ),
    "cifar100": Published(
        "The table in FTD's readme, CIFAR-100, whitened at least at ipc 10.",
        {
            1: _row(40, 3, 20, "all", 1000, 1e-5, 0.01, ema=0.9995, alpha=1.0),
            10: _row(20, 2, 40, "all", 1000, 1e-5, 0.01, ema=0.9995, alpha=1.0),
            50: _row(80, 2, 40, 1000, 1000, 1e-5, 0.01, ema=0.999, alpha=1.0),
        },
    ),
    "tinyimagenet": Published(
        "The table in FTD's readme, Tiny-ImageNet, 1 and 10 alone: on ConvNet-4, model=convnet4.",
        {
            1: _row(30, 2, 10, "all", 10000, 1e-4, 0.01, ema=0.999, alpha=1.0),
            10: _row(20, 2, 40, 500, 10000, 1e-4, 0.01, ema=0.999, alpha=1.0),
        },
    ),
}
