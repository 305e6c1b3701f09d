"""Sets that no published program names: one file of images and labels, or a folder with one a class or an
expert.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import KEY, Foreign, Wanted
from moe_distill.synthetic.formats.loading import dense, images, load_npy, load_npz, load_pt, load_safetensors

ENDINGS = (".pt", ".pth", ".npy", ".npz", ".safetensors")
_IMAGES = ("images", "image", "data", "x")
_LABELS = ("labels", "label", "targets", "y")
_KINDS = "a tensor of images, a pair of images and labels, or both by name (images, labels)"

Pair = tuple[torch.Tensor, torch.Tensor | None]


def read_file(path: Path, wanted: Wanted) -> Foreign:
    """Read images, and their labels where the file holds them or one beside it does; else they lie class by
    class.

    Images may be (N, C, H, W) or (N, H, W, C). Labels beside ``images.npy`` are ``labels.npy``, those beside
    ``x_images.npy`` are ``x_labels.npy``.

    Raises:
        InputError: The file holds something else, or does not fit the data.
    """
    pixels, labels = _pair(path, wanted)
    beside = path.with_name("labels".join(path.name.rsplit("images", 1)))
    if labels is not None or beside == path or not beside.is_file():
        return Foreign("file", pixels, labels, (path,))
    values = _load(beside, wanted)
    if isinstance(values, Mapping):
        values = _first(values, _LABELS)
    return Foreign("file", pixels, dense(values, beside, "labels", wanted), (path, beside))


def read_files(root: Path, wanted: Wanted) -> Foreign:
    """Read a folder with a file a class or an expert.

    Files that bear the classes' names, or numbers without any labels in them, are one a class; in files that
    say ``expert`` the images lie class by class; labels in the files go before both.

    Raises:
        InputError: It cannot be told which class an image is of, or a file does not fit.
    """
    paths = tensor_files(root)
    stems = {path.stem: path for path in paths}
    for names in (wanted.classes, wanted.synsets):
        if set(names) == set(stems):
            paths = [stems[name] for name in names]
            pairs = _pairs(paths, wanted)
            return _together(root, pairs, _by_file(pairs), tuple(paths), wanted.classes)
    numbers = _numbers(root, paths)
    paths = [path for _, path in sorted(zip(numbers, paths, strict=True))]
    pairs = _pairs(paths, wanted)
    told = [labels for _, labels in pairs if labels is not None]
    if len(told) == len(pairs):
        return _together(root, pairs, told, tuple(paths))
    if told:
        raise InputError(KEY, root, f"labels in every file or in none; {len(told)} of {len(pairs)} have them")
    if "expert" in paths[0].stem.lower():
        return _together(root, pairs, [_by_class(pixels, root, wanted) for pixels, _ in pairs], tuple(paths))
    if sorted(numbers) == list(range(len(wanted.classes))):
        return _together(root, pairs, _by_file(pairs), tuple(paths))
    classes = f"{len(wanted.classes)} files numbered from 0, one a class, or named as the classes"
    raise InputError(
        KEY, root, f"files with labels in them, or {classes}; found {_span(numbers)} without labels"
    )


def tensor_files(root: Path) -> list[Path]:
    """Return the files of tensors in a folder, sorted, hidden ones left out; none where it is no folder."""
    found = sorted(root.iterdir()) if root.is_dir() else []
    return [p for p in found if p.suffix in ENDINGS and p.is_file() and not p.name.startswith(".")]


def _numbers(root: Path, paths: Sequence[Path]) -> list[int]:
    """Return the number in each file's name; the names may differ in nothing else."""
    found = [re.fullmatch(r"(\D*)(\d{1,9})(\D*)", path.name) for path in paths]
    around = {(named[1], named[3]) for named in found if named}
    if None in found or len(around) != 1:
        some = ", ".join(path.name for path in paths[:3])
        raise InputError(
            KEY, root, f"files whose names differ in one number, or are the classes' names; found {some}"
        )
    return [int(named[2]) for named in found if named]


def _span(numbers: Sequence[int]) -> str:
    return f"{len(numbers)}, numbered {min(numbers)} to {max(numbers)},"


def _pairs(paths: Sequence[Path], wanted: Wanted) -> list[Pair]:
    pairs = []
    room = wanted.limit
    for path in paths:
        pairs.append(_pair(path, Wanted(wanted.classes, wanted.shape, room)))
        room -= pairs[-1][0].numel() * torch.float32.itemsize
    return pairs


def _by_file(pairs: Sequence[Pair]) -> list[torch.Tensor]:
    return [torch.full((len(pixels),), number) for number, (pixels, _) in enumerate(pairs)]


def _by_class(pixels: torch.Tensor, root: Path, wanted: Wanted) -> torch.Tensor:
    classes = len(wanted.classes)
    if len(pixels) % classes:
        raise InputError(KEY, root, f"images of {classes} classes, each equally often, of each expert")
    return torch.arange(classes).repeat_interleave(len(pixels) // classes)


def _together(
    root: Path,
    pairs: Sequence[Pair],
    labels: Sequence[torch.Tensor],
    files: tuple[Path, ...],
    order: tuple[str, ...] | None = None,
) -> Foreign:
    dtypes = {pixels.dtype for pixels, _ in pairs}
    if len(dtypes) > 1 or len({rows.shape[1:] for rows in labels}) > 1:
        raise InputError(KEY, root, "images of one type, and labels of one form, in all files")
    return Foreign(
        "files", torch.cat([pixels for pixels, _ in pairs]), torch.cat([*labels]), files, order=order
    )


def _pair(path: Path, wanted: Wanted) -> Pair:
    """Return the images of a file, channels first, and its labels; None where it has none."""
    values: Any = _load(path, wanted)
    labels = None
    if isinstance(values, Mapping):
        values, labels = _first(values, _IMAGES), _first(values, _LABELS)
    elif isinstance(values, list | tuple) and len(values) == 2:
        values, labels = values
    if not isinstance(values, torch.Tensor):
        raise InputError(KEY, path, f"{_KINDS}; this file holds something else")
    pixels = dense(values, path, "images", wanted)
    channels, height, width = wanted.shape
    if tuple(pixels.shape[1:]) == (height, width, channels) != wanted.shape:
        pixels = pixels.permute(0, 3, 1, 2)
    return images(pixels, path, wanted), None if labels is None else dense(labels, path, "labels", wanted)


def _first(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if name in values), None)


def _load(path: Path, wanted: Wanted) -> Any:
    if path.suffix == ".npy":
        return load_npy(path, wanted)
    if path.suffix == ".npz":
        return load_npz(path, (*_IMAGES, *_LABELS), wanted)
    return (load_safetensors if path.suffix == ".safetensors" else load_pt)(path, wanted)
