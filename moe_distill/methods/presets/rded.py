"""RDED: candidates per class, crops of each, and patches per side of an image; the same at every ipc."""

from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _row(factor: int) -> dict[int, Settings]:
    return {1: {"mipc": 300, "crops": 5, "factor": factor}}


_LARGER = Published("RDED's scripts for larger pixel sizes: four patches an image.", _row(2))
PRESETS = {
    DEFAULT: Published("RDED's scripts for 32 pixels.", _row(1)),
    "imagenet100": _LARGER,
    "imagenette": _LARGER,
    "imagewoof": _LARGER,
    "stl10": Published("Not published: as for ImageNet's subsets.", _row(2)),
}
