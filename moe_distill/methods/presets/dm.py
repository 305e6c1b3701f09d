"""DM: iterations and the learning rate of the images."""

from moe_distill.methods.presets.rows import DEFAULT, Published

PRESETS = {
    DEFAULT: Published(
        "DM's readme for CIFAR-10: lr 1.0 up to ipc 50, 10 from ipc 100 on; the loop is inclusive.",
        {
            1: {"iterations": 20001, "lr": 1.0},
            50: {"iterations": 20001, "lr": 1.0},
            100: {"iterations": 20001, "lr": 10.0},
        },
    ),
    "cifar100": Published(
        "DM's readme for CIFAR-100: lr 1.0 as for CIFAR-10; the loop is inclusive.",
        {1: {"iterations": 20001, "lr": 1.0}},
    ),
}
