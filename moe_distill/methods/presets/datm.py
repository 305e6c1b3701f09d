"""DATM: MTT's settings, the widening range of start epochs, and the labels."""

from typing import Any

from moe_distill.methods.presets.mtt import matching
from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _row(
    *numbers: Any, start: tuple[int, int], widens_in: int = 1, lr_labels: float = 10, max_loss: float = 1.0
) -> Settings:
    """Return the settings of one of DATM's configuration files.

    Args:
        *numbers: See :func:`moe_distill.methods.presets.mtt.matching`.
        start: T⁻, the earliest start epoch, and the initial T, which equals T⁺ if the range does not widen.
        widens_in: Iterations over which T grows to T⁺.
        lr_labels: Learning rate of the labels' logits.
        max_loss: Iterations with a larger loss move nothing.
    """
    return {
        "iterations": 10001,
        **matching(*numbers),
        "min_start_epoch": start[0],
        "first_max_start_epoch": start[1],
        "expand_iterations": widens_in,
        "label_epoch": 100,
        "lr_labels": lr_labels,
        "max_loss": max_loss,
    }


PRESETS = {
    DEFAULT: Published(
        "DATM's configuration files for CIFAR-10, whitened.",
        {
            1: _row(80, 2, 4, "all", 100, 1e-7, 0.01, start=(0, 4), lr_labels=5, max_loss=1.1),
            10: _row(80, 2, 20, "all", 100, 1e-5, 0.01, start=(0, 10), widens_in=1000, lr_labels=2),
            50: _row(80, 2, 40, "all", 1000, 1e-5, 0.01, start=(0, 20), widens_in=2000, lr_labels=2),
            500: _row(40, 2, 60, 1000, 50, 1e-5, 0.01, start=(40, 60)),
            1000: _row(100, 2, 60, 1000, 50, 1e-5, 0.01, start=(40, 60)),
        },
    ),
    "cifar100": Published(
        "DATM's configuration files for CIFAR-100, whitened.",
        {
            1: _row(40, 3, 20, "all", 1000, 1e-5, 0.01, start=(0, 10), widens_in=1000),
            10: _row(80, 2, 50, 1000, 1000, 1e-5, 0.01, start=(0, 30), widens_in=2000),
            50: _row(80, 2, 70, 1000, 1000, 1e-5, 0.01, start=(20, 70)),
            100: _row(80, 2, 70, 1000, 50, 1e-5, 0.01, start=(30, 70)),
        },
    ),
    "tinyimagenet": Published(
        "DATM's configuration files for Tiny-ImageNet, whitened: the network was ConvNet-4, model=convnet4.",
        {
            1: _row(40, 2, 20, 1000, 10000, 1e-4, 0.01, start=(0, 15), widens_in=2000),
            10: _row(40, 2, 50, 500, 100, 1e-4, 0.01, start=(10, 50)),
            50: _row(20, 2, 70, 1000, 100, 1e-4, 0.01, start=(40, 70)),
        },
    ),
}
