"""Sets in no published layout: one file of images and labels, or a folder with a file per class or expert."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import KEY, ForeignSet, TargetData
from moe_distill.synthetic.formats.loading import (
    checked_tensor,
    images,
    load_npy,
    load_npz,
    load_pt,
    load_safetensors,
)

ENDINGS = (".pt", ".pth", ".npy", ".npz", ".safetensors")
# Names by which files hold images and labels, in the order of preference.
_IMAGES = ("images", "image", "data", "x")
_LABELS = ("labels", "label", "targets", "y")
_KINDS = "a tensor of images, a pair of images and labels, or both by name (images, labels)"

Pair = tuple[torch.Tensor, torch.Tensor | None]
"""Images of a file, and its labels; None if it has none."""


def read_file(path: Path, wanted: TargetData) -> ForeignSet:
    """Read images and labels from one file, or from two files side by side.

    Images may be (N, C, H, W) or (N, H, W, C). Labels of ``images.npy`` are looked up in ``labels.npy``,
    those of ``x_images.npy`` in ``x_labels.npy``. Images without labels are taken to be in the order of the
    classes.

    Raises:
        InputError: If the file holds something else, or does not fit the data.
    """
    pixels, labels = _pair(path, wanted)
    labels_path = path.with_name("labels".join(path.name.rsplit("images", 1)))
    if labels is not None or labels_path == path or not labels_path.is_file():
        return ForeignSet("file", pixels, labels, (path,))
    values = _load(labels_path, wanted)
    if isinstance(values, Mapping):
        values = _first(values, _LABELS)
    return ForeignSet(
        "file", pixels, checked_tensor(values, labels_path, "labels", wanted), (path, labels_path)
    )


def read_files(root: Path, wanted: TargetData) -> ForeignSet:
    """Read a folder with a file per class or per expert.

    Files named after the classes hold one class each. Otherwise labels in the files decide. Without labels,
    files named ``expert`` hold images in the order of the classes, and numbered files one class each.

    Raises:
        InputError: If the class of an image is ambiguous, or a file does not fit.
    """
    paths = tensor_files(root)
    stems = {path.stem: path for path in paths}
    for names in (wanted.classes, wanted.synsets):
        if set(names) == set(stems):
            paths = [stems[name] for name in names]
            pairs = _pairs(paths, wanted)
            return _together(root, pairs, _by_file(pairs), tuple(paths), wanted.classes)
    # By number: a sort by name would put file 10 before file 2.
    numbers = _numbers(root, paths)
    paths = [path for _, path in sorted(zip(numbers, paths, strict=True))]
    pairs = _pairs(paths, wanted)
    labels_in_files = [labels for _, labels in pairs if labels is not None]
    if len(labels_in_files) == len(pairs):
        return _together(root, pairs, labels_in_files, tuple(paths))
    if labels_in_files:
        some = f"{len(labels_in_files)} of {len(pairs)}"
        raise InputError(KEY, root, f"labels in every file or in none; {some} have them")
    if "expert" in paths[0].stem.lower():
        return _together(root, pairs, [_by_class(pixels, root, wanted) for pixels, _ in pairs], tuple(paths))
    if sorted(numbers) == list(range(len(wanted.classes))):
        return _together(root, pairs, _by_file(pairs), tuple(paths))
    classes = f"{len(wanted.classes)} files numbered from 0, one a class, or named as the classes"
    raise InputError(
        KEY, root, f"files with labels in them, or {classes}; found {_span(numbers)} without labels"
    )


def tensor_files(root: Path) -> list[Path]:
    """Return the sorted tensor files of a folder without hidden ones; empty if it is no folder."""
    entries = sorted(root.iterdir()) if root.is_dir() else []
    return [p for p in entries if p.suffix in ENDINGS and p.is_file() and not p.name.startswith(".")]


def _numbers(root: Path, paths: Sequence[Path]) -> list[int]:
    """Return the number in each file's name; the names must be equal otherwise."""
    matches = [re.fullmatch(r"(\D*)(\d{1,9})(\D*)", path.name) for path in paths]
    surroundings = {(match[1], match[3]) for match in matches if match}
    if None in matches or len(surroundings) != 1:
        some = ", ".join(path.name for path in paths[:3])
        raise InputError(
            KEY, root, f"files whose names differ in one number, or are the classes' names; found {some}"
        )
    return [int(match[2]) for match in matches if match]


def _span(numbers: Sequence[int]) -> str:
    return f"{len(numbers)}, numbered {min(numbers)} to {max(numbers)},"


def _pairs(paths: Sequence[Path], wanted: TargetData) -> list[Pair]:
    pairs = []
    room = wanted.limit  # of all files together
    for path in paths:
        pairs.append(_pair(path, TargetData(wanted.classes, wanted.shape, room)))
        room -= pairs[-1][0].numel() * torch.float32.itemsize
    return pairs


def _by_file(pairs: Sequence[Pair]) -> list[torch.Tensor]:
    return [torch.full((len(pixels),), number) for number, (pixels, _) in enumerate(pairs)]


def _by_class(pixels: torch.Tensor, root: Path, wanted: TargetData) -> torch.Tensor:
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
) -> ForeignSet:
    # torch.cat would convert uint8 pixels and floats to one type without a word.
    dtypes = {pixels.dtype for pixels, _ in pairs}
    if len(dtypes) > 1 or len({rows.shape[1:] for rows in labels}) > 1:
        raise InputError(KEY, root, "images of one type, and labels of one form, in all files")
    return ForeignSet(
        "files", torch.cat([pixels for pixels, _ in pairs]), torch.cat([*labels]), files, order=order
    )


def _pair(path: Path, wanted: TargetData) -> Pair:
    """Return the images of a file, channels first, and its labels."""
    values = _load(path, wanted)
    labels: object = None
    if isinstance(values, Mapping):
        labels = _first(values, _LABELS)
        values = _first(values, _IMAGES)
    elif isinstance(values, list | tuple) and len(values) == 2:
        values, labels = values
    if not isinstance(values, torch.Tensor):
        raise InputError(KEY, path, f"{_KINDS}; this file holds something else")
    pixels = checked_tensor(values, path, "images", wanted)
    channels, height, width = wanted.shape
    if tuple(pixels.shape[1:]) == (height, width, channels) != wanted.shape:  # channels last
        pixels = pixels.permute(0, 3, 1, 2)
    return images(pixels, path, wanted), None if labels is None else checked_tensor(
        labels, path, "labels", wanted
    )


def _first(values: Mapping[str, object], names: Sequence[str]) -> object:
    """Return the value of the first of these names that is there; None if none is."""
    return next((values[name] for name in names if name in values), None)


def _load(path: Path, wanted: TargetData) -> Any:
    if path.suffix == ".npy":
        return load_npy(path, wanted)
    if path.suffix == ".npz":
        return load_npz(path, (*_IMAGES, *_LABELS), wanted)
    if path.suffix == ".safetensors":
        return load_safetensors(path, wanted)
    return load_pt(path, wanted)
