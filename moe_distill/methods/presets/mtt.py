"""MTT: the student's steps, the teacher's epochs that they should cover, and the learning rates."""

from typing import Any, Literal

from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def matching(
    synthetic_steps: int,
    teacher_epochs: int,
    max_start_epoch: int,
    batch_syn: int | Literal["all"],
    lr_images: float,
    lr_step_size: float,
    step_size: float,
) -> Settings:
    """Return the settings that MTT shares with the methods derived from it.

    Args:
        synthetic_steps: N, steps of the student.
        teacher_epochs: M, epochs of the teacher that the student should cover.
        max_start_epoch: T⁺, the latest start epoch, exclusive.
        batch_syn: Synthetic images per step, or ``all``.
        lr_images: Learning rate of the images.
        lr_step_size: Learning rate of the student's step size.
        step_size: Initial value of the student's step size.
    """
    return {
        "lr_images": lr_images,
        "lr_step_size": lr_step_size,
        "step_size": step_size,
        "synthetic_steps": synthetic_steps,
        "teacher_epochs": teacher_epochs,
        "max_start_epoch": max_start_epoch,
        "batch_syn": batch_syn,
        "max_loss": None,  # every iteration moves the images
        "ema": None,  # no average of the images is kept
        "teachers": {"networks": 100},
    }


def _row(*numbers: Any) -> Settings:
    return {"iterations": 5001, **matching(*numbers)}


PRESETS = {
    DEFAULT: Published(
        "CIFAR-10 without whitening: a third party's rows at ipc 1 and 10, MTT's own at 50.",
        {
            1: _row(50, 2, 5, "all", 1000, 1e-7, 0.01),
            10: _row(30, 2, 15, "all", 1000, 1e-5, 0.01),
            50: _row(30, 2, 40, "all", 1000, 1e-5, 0.001),
        },
    ),
    "cifar10_zca": Published(
        "MTT's own rows at ipc 1 and 10 (its author's list, by way of DC-BENCH), whitened; 50: a third "
        "party's, whitened. The learning rate of images at ipc 10 in MTT's readme, 1e5, is a misprint that "
        "its author confirmed: FTD's row stands.",
        {
            1: _row(50, 2, 2, "all", 100, 1e-7, 0.01),
            10: _row(30, 2, 20, "all", 100, 1e-5, 0.001),
            50: _row(30, 2, 20, "all", 100, 1e-5, 0.001),
        },
    ),
    "cifar100": Published(
        "MTT's own rows (its author's list, by way of DC-BENCH): whitened at ipc 1 and 50, not at 10, on "
        "which sources disagree, as they do on its 20 or 40 start epochs.",
        {
            1: _row(20, 3, 20, "all", 1000, 1e-5, 0.01),
            10: _row(20, 2, 20, "all", 1000, 1e-5, 0.01),
            50: _row(80, 2, 40, 125, 1000, 1e-5, 0.01),
        },
    ),
    "tinyimagenet": Published(
        "MTT's own rows (its author's list, by way of DC-BENCH), without whitening; the network was "
        "ConvNet-4, model=convnet4.",
        {
            1: _row(10, 2, 10, "all", 10000, 1e-4, 0.01),
            10: _row(20, 2, 40, 200, 10000, 1e-4, 0.01),
            50: _row(20, 2, 40, 300, 10000, 1e-4, 0.01),
        },
    ),
}
