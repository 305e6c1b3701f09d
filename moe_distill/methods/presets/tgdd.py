"""TGDD: the weight of the constraint by images per class, its teachers, and the rate of the images."""

from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _row(alpha: float, lr: float = 0.1, teacher_epochs: int = 60, factor: int = 2) -> Settings:
    return {
        "iterations": 10_000,
        "lr": lr,
        "real_batch": 128,
        "factor": factor,
        "alpha": alpha,
        "teacher_epochs": teacher_epochs,
        "window": 7,
        "teachers": {"networks": 5},
    }


def _by_ipc(lr: float = 0.1, teacher_epochs: int = 60, factor: int = 2) -> dict[int, Settings]:
    few, many = (_row(alpha, lr, teacher_epochs, factor) for alpha in (2.5, 0.5))
    # The paper's α is 2.5 at ipc 1 and 10 and 0.5 at 50; 25 keeps what lies between at the first.
    return {1: few, 10: few, 25: few, 50: many}


# 128 pixels in the paper; ImageNette and its like have the same settings at other sizes here.
_OF_IMAGENET = Published(
    "TGDD's program for subsets of ImageNet at 128 pixels: teachers of 80 epochs, ten times CIFAR's rate.",
    _by_ipc(lr=1.0, teacher_epochs=80),
)
PRESETS = {
    DEFAULT: Published("TGDD's program for CIFAR, SVHN and Tiny-ImageNet; α from its paper.", _by_ipc()),
    "imagenette": _OF_IMAGENET,
    "imagewoof": _OF_IMAGENET,
    "imagenet100": _OF_IMAGENET,
    "digits": Published(
        "Not published: CIFAR's settings, without cells: a quarter of an 8-pixel image shows no digit.",
        _by_ipc(factor=1),
    ),
}
