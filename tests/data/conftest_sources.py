"""Sources as the configuration has them, and trees of noise for them to read."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

CONF = Path(__file__).parents[2] / "conf/data"


def source(name, **changes):
    fields = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    module, kind = fields.pop("_target_").rsplit(".", 1)
    fields.pop("_convert_", None)
    return replace(getattr(importlib.import_module(module), kind)(**fields), **changes)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(path, seed, size=32):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, size, size + 8, 3)).save(path)


def plant(root, classes, size=32, suffix="png", parts=("train", "val")):
    for part, first in zip(parts, (0, 500), strict=True):
        for number, name in enumerate(classes):
            picture(root / part / name / f"x.{suffix}", first + number, size)
    return root
