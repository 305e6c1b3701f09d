"""IDM: settings of the images and of the queue of networks."""

from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _row(
    real_batch: int, ce_weight: float, renew_every: int, steps: int, meter_reset: int, factor: int = 2
) -> Settings:
    """Return the settings of one command in the authors' repository; ``factor`` 1 means no partition."""
    queue = {"renew_every": renew_every, "steps": steps, "batch_size": 256, "meter_reset": meter_reset}
    images = {"iterations": 20001, "lr": 0.2, "factor": factor}
    return {**images, "real_batch": real_batch, "ce_weight": ce_weight, "queue": queue}


PRESETS = {
    DEFAULT: Published(
        "The commands in IDM's repository for CIFAR-10.",
        {1: _row(5000, 0.5, 5, 10, 100), 10: _row(256, 0.5, 30, 10, 100), 50: _row(256, 0.1, 30, 10, 500)},
    ),
    "cifar100": Published(
        "The commands in IDM's repository for CIFAR-100. At ipc 50 the authors recommend 40 steps over the "
        "10 of their file, which gives about 46 %.",
        {1: _row(5000, 0.5, 5, 10, 100), 10: _row(256, 0.1, 30, 50, 100), 50: _row(256, 0.1, 30, 40, 500)},
    ),
    "tinyimagenet": Published(
        "The commands in IDM's repository for Tiny-ImageNet.",
        {1: _row(256, 0.5, 30, 10, 100), 10: _row(256, 0.5, 30, 10, 500), 50: _row(256, 0.8, 30, 50, 1000)},
    ),
    "digits": Published(
        "Not published: CIFAR-10's settings without the partition: a quarter of an image shows no digit.",
        {
            1: _row(5000, 0.5, 5, 10, 100, factor=1),
            10: _row(256, 0.5, 30, 10, 100, factor=1),
            50: _row(256, 0.1, 30, 10, 500, factor=1),
        },
    ),
}
