"""A picture, what is read of its file, and the refusal of one that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from moe_distill.data.pictures import as_shown, opened
from moe_distill.errors import InputError

KEY = "data.root"
STORED = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))


def refused(match, function, *arguments):
    with pytest.raises(InputError, match=match) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    assert str(caught.value).encode()  # it can be printed
    assert str(caught.value).startswith(f"{KEY}=")


def shown(path, mode="RGB"):
    with opened(path, KEY) as image:
        return as_shown(image, mode)
