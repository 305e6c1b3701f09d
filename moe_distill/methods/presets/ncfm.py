"""NCFM: what its configurations say; one row for every ipc, but for CIFAR-100 at ipc 10."""

from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _row(teacher_epochs: int = 60, factor: int = 2) -> Settings:
    return {
        "iterations": 20_000,
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 5e-4,
        "real_batch": 1024,
        "frequencies": 4096,
        "factor": factor,
        "teacher_epochs": teacher_epochs,
        "teachers": {"networks": 20},
    }


# 128 pixels in the paper; ImageNette and its like have the same settings at other sizes here.
_OF_IMAGENET = Published(
    "NCFM's configurations for subsets of ImageNet at 128 pixels: CIFAR's, with teachers of 80 epochs.",
    {1: _row(teacher_epochs=80)},
)
PRESETS = {
    DEFAULT: Published(
        "NCFM's configurations for CIFAR-10 and Tiny-ImageNet at ipc 1, 10 and 50.", {1: _row()}
    ),
    "cifar100": Published(
        "NCFM's configurations for CIFAR-100, of which the one at ipc 10 moves images by SGD.",
        {1: _row(), 10: {**_row(), "optimizer": "sgd", "lr": 0.01, "weight_decay": 0.0}, 50: _row()},
    ),
    "imagenette": _OF_IMAGENET,
    "imagewoof": _OF_IMAGENET,
    "imagenet100": _OF_IMAGENET,
    "digits": Published(
        "Not published: CIFAR's settings, without cells: a quarter of an 8-pixel image shows no digit.",
        {1: _row(factor=1)},
    ),
}
