"""IDC: one row for every ipc, as in its published program."""

from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _row(base_size: int, factor: int) -> Settings:
    source = {"renew_every": 100, "n_data": 2000}
    return {"iterations": 200_000, "lr": 5e-3, "base_size": base_size, "factor": factor, "source": source}


PRESETS = {
    DEFAULT: Published(
        "The defaults of IDC's program at every ipc of both CIFARs (2000 networks of 100 iterations).",
        {1: _row(32, 2)},
    ),
    "digits": Published(
        "Not published: CIFAR's settings for 8 pixels, without cells: a quarter of an image shows no digit.",
        {1: _row(8, 1)},
    ),
}
