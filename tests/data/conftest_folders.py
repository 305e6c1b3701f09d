"""Class folders of small pictures, and what a folder of them is refused for."""

import numpy as np
import pytest
from PIL import Image

from moe_distill.data.sources.folder import Folder
from moe_distill.errors import InputError


def picture(seed, width=16, height=16, mode="RGB"):
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def plant(root, classes=("cat", "ant", "dog"), per_class=2, suffix="png", parts=("train", "test"), **how):
    for part, first in zip(parts, (0, 100), strict=False):
        for number, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(per_class):
                picture(first + 10 * number + i, **how).save(root / part / name / f"{i}.{suffix}")
    return root


def refused(match, cache, **fields):
    with pytest.raises(InputError, match=match) as caught:
        Folder(**fields).load(cache)
    assert "\n" not in str(caught.value)
    assert str(caught.value).encode()  # it can be printed
    assert not cache.exists() or not list(cache.glob("*.safetensors"))
