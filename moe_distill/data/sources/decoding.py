"""Decoding of a class-folder tree into one tensor of pixels: checked first, decoded once, then cached."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from moe_distill.data.pictures import MOST_PIXELS, as_shown, content, header, opened, printable_path
from moe_distill.data.sources.threads import in_threads
from moe_distill.data.sources.tree import KEY, Tree, digest_of
from moe_distill.errors import InputError
from moe_distill.store.tensor_cache import Tensors, cached


def decoded(
    tree: Tree,
    size: int | None,
    channels: int | None,
    cache: Path,
    accept: Callable[[int], None] = lambda depth: None,
) -> Tensors:
    """Return the pixels and labels of a tree, from the cache if the same bytes were decoded before.

    Pictures are read as a viewer shows them: rotated as their EXIF says, on a white background.

    Args:
        tree: The files.
        size: Pixels a side; None takes the one square size that all images have.
        channels: 1 or 3; None means 1 if every file is grayscale, else 3.
        cache: The folder for decoded images.
        accept: Called with the number of channels before anything is decoded; raises if they do not fit.

    Returns:
        ``{train,test}_images`` uint8 of shape (N, C, H, W) and ``{train,test}_labels`` int64 of shape (N,).

    Raises:
        InputError: If a file cannot be decoded, or images have no common size.
    """
    # Keyed by content, so that a moved or copied tree is not decoded again.
    path = cache / f"tree-{tree.key(size, channels)}.safetensors"
    return cached(path, lambda: decode(tree, size, channels, accept))


def check_size(size: int) -> None:
    """Check that networks can take images of ``size`` pixels a side.

    Raises:
        InputError: If they cannot.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 224:
        raise InputError("data.size", size, "a whole number of pixels from 8 to 224")


def fit_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to ``size`` (bilinear, antialiased), then crop the centre square.

    Example:
        >>> fit_square(Image.new("L", (30, 20)), 10).size
        (10, 10)
    """
    from torchvision.transforms.v2.functional import center_crop, resize  # slow to import

    return center_crop(resize(image, [size]), [size, size])


def decode(
    tree: Tree,
    size: int | None,
    channels: int | None,
    accept: Callable[[int], None] = lambda depth: None,
) -> Tensors:
    """Return what :func:`decoded` does, without a cache."""
    files = [path for path, _ in tree.train + tree.test]
    sizes, modes = zip(*in_threads(partial(header, key=KEY), files, "checking images"), strict=True)
    side = _shared_size(set(sizes)) if size is None else size
    # Before the crop an elongated picture is as large as its sides' ratio says: a bomb, if not refused.
    for path, (width, height) in zip(files, sizes, strict=True):
        if side**2 * max(width, height) // min(width, height) > MOST_PIXELS:
            allowed = f"images of at most {MOST_PIXELS:,} pixels once the shorter side has {side}"
            raise InputError(KEY, printable_path(path), f"{allowed}; this one is {width}x{height}")
    # Gray with alpha counts as gray; palettes count as colour, as they may hold any.
    depth = channels or (1 if set(modes) <= {"1", "L", "LA"} else 3)
    accept(depth)
    arrays = {}
    for part, listing in (("train", tree.train), ("test", tree.test)):
        images_NCHW = torch.empty(len(listing), depth, side, side, dtype=torch.uint8)
        pixels = partial(_pixels, size=side, channels=depth)
        digests = [(path, tree.digests[path]) for path, _ in listing]
        # Into one tensor made beforehand: a list of images and their stack would take twice the memory.
        for row, image_CHW in enumerate(in_threads(pixels, digests, f"decoding {part}")):
            images_NCHW[row] = image_CHW
        arrays[f"{part}_images"] = images_NCHW
        arrays[f"{part}_labels"] = torch.tensor([label for _, label in listing], dtype=torch.long)
    return arrays


def _pixels(file: tuple[Path, str], size: int, channels: int) -> torch.Tensor:
    path, digest = file
    data = content(path, KEY)
    if digest_of(data) != digest:  # its pixels would be cached under the key of other bytes
        raise InputError(
            KEY, printable_path(path), "files that do not change while they are read; this one just did"
        )
    with opened(path, KEY, data) as image:
        pixels_HWC = np.array(fit_square(as_shown(image, "L" if channels == 1 else "RGB"), size))
    return torch.from_numpy(pixels_HWC).view(size, size, channels).permute(2, 0, 1)


def _shared_size(sizes: set[tuple[int, int]]) -> int:
    (width, height), *others = sorted(sizes)
    if others or width != height:
        several = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)[:3])
        raise InputError(
            "data.size", None, f"a size, such as data.size=64: images are not of one square size ({several})"
        )
    check_size(width)
    return width
