"""Readers of public distilled sets, one layout a function; a layout is known by the names of its files."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from moe_distill.errors import InputError
from moe_distill.formats.foreign import KEY, Foreign, Wanted
from moe_distill.formats.image_folder import read_folder
from moe_distill.formats.loading import dense, images, load_npz, load_pt, rate
from moe_distill.pictures import class_folders

AUTO = "auto"


def read_dc(path: Path, wanted: Wanted) -> Foreign:
    """Read what DC, DSA and DM leave: a dict whose ``data`` lists (images, labels), of which the last is taken."""
    held = load_pt(path, wanted)
    try:
        images_NCHW, labels_N = held["data"][-1]
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(KEY, path, "a dict whose 'data' lists pairs of images and labels") from error
    named = re.match(r"res_([A-Za-z0-9]+)_", path.name)
    method = named[1].lower() if named else "dc"
    return Foreign(method, images(images_NCHW, path, wanted), dense(labels_N, path, "labels", wanted), (path,))


def read_idc(path: Path, wanted: Wanted) -> Foreign:
    """Read what IDC leaves: a list of raw images and labels, tiled by the factor the user names."""
    held = load_pt(path, wanted)
    if not isinstance(held, list | tuple) or len(held) != 2:
        raise InputError(KEY, path, "a list of two tensors, images and labels")
    labels_N = dense(held[1], path, "labels", wanted)
    return Foreign("idc", images(held[0], path, wanted), labels_N, (path,), spaces=("raw",))


def read_mtt(path: Path, wanted: Wanted) -> Foreign:
    """Read what MTT and its followers leave: ``images_best.pt``, ``labels_best.pt``, at best ``lr_best.pt``."""
    return _of_folder("mtt", path, "images_best.pt", "labels_best.pt", "lr_best.pt", True, wanted)


def read_tensors(path: Path, wanted: Wanted) -> Foreign:
    """Read ``images.pt``; ``labels.pt`` and ``lr.pt`` where they are. Without labels the images lie class by class.

    Source: the input layout of DD-Ranking v0.2.
    """
    return _of_folder("tensors", path, "images.pt", "labels.pt", "lr.pt", False, wanted)


def read_random(path: Path, wanted: Wanted) -> Foreign:
    """Read a selection of DC-BENCH: ``…_images.pt`` and, beside it, ``…_labels.pt``."""
    beside = path.name.removesuffix("_images.pt") + "_labels.pt"
    return _of_folder("random", path.parent, path.name, beside, None, True, wanted)


def read_kip(path: Path, wanted: Wanted) -> Foreign:
    """Read what KIP leaves: an archive with ``images`` (N, H, W, C) and ``labels``, a row of targets for each.

    The targets of its regression are no probabilities, so that their largest entry is taken as the class. Sets with
    KIP's own whitening, of images scaled to unit norm, cannot be mapped to what students see here.
    """
    images_NHWC, labels = load_npz(path, ("images", "labels"), wanted)
    found = dense(images_NHWC, path, "images", wanted)
    if found.ndim != 4:
        raise InputError(KEY, path, f"images of shape (N, H, W, C); found {tuple(found.shape)}")
    classes = dense(labels, path, "labels", wanted)
    if classes.ndim == 2 and classes.shape[1] == len(wanted.classes):
        classes = classes.argmax(1)
    pixels = images(found.permute(0, 3, 1, 2), path, wanted)
    return Foreign("kip", pixels, classes, (path,), spaces=("raw", "standardised"))


def _of_folder(
    method: str, folder: Path, pixels: str, labels: str, step: str | None, needs_labels: bool, wanted: Wanted
) -> Foreign:
    given: torch.Tensor | None = None
    learned: float | None = None
    files = [folder / pixels]
    images_NCHW = images(load_pt(files[0], wanted), files[0], wanted)
    if needs_labels or (folder / labels).exists():
        files.append(folder / labels)
        given = dense(load_pt(files[-1], wanted), files[-1], "labels", wanted)
    if step is not None and (folder / step).exists():
        files.append(folder / step)
        learned = rate(load_pt(files[-1], wanted), files[-1], wanted)
    return Foreign(method, images_NCHW, given, tuple(files), learned)


@dataclass(frozen=True)
class Layout:
    """A way of storing a set.

    Args:
        name: As the user writes it.
        files: The files in words.
        fits: Whether a path looks like it, by names alone.
        read: Reads it.
        tiled: Whether stored images may hold several smaller ones without saying so.
    """

    name: str
    files: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Wanted], Foreign]
    tiled: bool = False


def _named(pattern: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and re.fullmatch(pattern, path.name) is not None


def _holding(name: str) -> Callable[[Path], bool]:
    return lambda path: (path / name).is_file()


LAYOUTS = (
    Layout("dc", "a file res_<method>_….pt", _named(r"res_.*\.pt"), read_dc),
    Layout("idc", "a file data….pt", _named(r"data.*\.pt"), read_idc, tiled=True),
    Layout("random", "a file …_images.pt beside …_labels.pt", _named(r".*_images\.pt"), read_random),
    Layout("kip", "a file ….npz", _named(r".*\.npz"), read_kip),
    Layout("mtt", "a folder with images_best.pt and labels_best.pt", _holding("images_best.pt"), read_mtt),
    Layout("tensors", "a folder with images.pt", _holding("images.pt"), read_tensors),
    Layout("folder", "a folder with <class>/*.png or *.jpg", lambda path: bool(class_folders(path, KEY)), read_folder),
)


def layout_of(path: Path, name: str = AUTO) -> Layout:
    """Return the layout a path has, or the one named.

    Raises:
        InputError: There is nothing there, no layout or several fit, or no layout has that name.
    """
    if not path.exists():
        raise InputError(KEY, path, "a file or folder of a distilled set; there is nothing there")
    if name != AUTO:
        chosen = [layout for layout in LAYOUTS if layout.name == name]
        if not chosen:
            raise InputError("pipeline.layout", name, f"one of {AUTO}, {', '.join(x.name for x in LAYOUTS)}")
        return chosen[0]
    if path.suffix == ".safetensors" or any(path.glob("expert_*.safetensors")):
        raise InputError(KEY, path, "a set of another program; pipeline=evaluate takes this one as it is")
    fitting = [layout for layout in LAYOUTS if layout.fits(path)]
    if len(fitting) > 1:
        raise InputError("pipeline.layout", AUTO, f"{' or '.join(x.name for x in fitting)}: {path} fits each")
    if not fitting:
        known = "; ".join(f"{x.files} ({x.name})" for x in LAYOUTS)
        raise InputError(KEY, path, f"{known}; other names with pipeline.layout=<the word in brackets>")
    return fitting[0]
