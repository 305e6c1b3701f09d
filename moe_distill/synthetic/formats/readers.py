"""Readers of the sets that published programs leave, one layout a function."""

import re
from dataclasses import replace
from pathlib import Path

import torch

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.about import beside
from moe_distill.synthetic.formats.foreign import KEY, Foreign, Wanted
from moe_distill.synthetic.formats.loading import dense, images, load_npz, load_pickle, load_pt, rate


def read_dc(path: Path, wanted: Wanted) -> Foreign:
    """Read what DC, DSA and DM leave: a dict whose ``data`` lists (images, labels), of which the last is
    taken.
    """
    held = load_pt(path, wanted)
    try:
        images_NCHW, labels_N = held["data"][-1]
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(KEY, path, "a dict whose 'data' lists pairs of images and labels") from error
    named = re.match(r"res_([A-Za-z0-9]+)_", path.name)
    method = named[1].lower() if named else "dc"
    labels_N = dense(labels_N, path, "labels", wanted)
    return Foreign(method, images(images_NCHW, path, wanted), labels_N, (path,), convention="dc")


def read_idm(path: Path, wanted: Wanted) -> Foreign:
    """Read what IDM leaves, ``acc_<accuracy>.pkl``: a pickled pair of standardised images and class numbers.

    Its images hold two tiles a side, numbered column by column, unless its folder says that they do not.

    Source: IDM_cifar10.py of uitrbn/IDM, whose commands all set ``--aug`` and never ``--zca``; it writes into
        a folder
    ``<data>_ipc_<n>_aug_<True or False>_model_<network>``.
    """
    values = load_pickle(path, wanted)
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise InputError(KEY, path, "a pickled pair of tensors, images and labels")
    pixels, labels_N = images(values[0], path, wanted), dense(values[1], path, "labels", wanted)
    factor = 1 if "_aug_False_" in path.absolute().parent.name else 2
    found = Foreign("idm", pixels, labels_N, (path,), spaces=("standardised",), convention="mtt")
    return replace(found, factor=factor, by_column=factor > 1)


def read_idc(path: Path, wanted: Wanted) -> Foreign:
    """Read what IDC leaves: a list of raw images and labels, tiled by the factor the user names."""
    held = load_pt(path, wanted)
    if not isinstance(held, list | tuple) or len(held) != 2:
        raise InputError(KEY, path, "a list of two tensors, images and labels")
    labels_N = dense(held[1], path, "labels", wanted)
    return Foreign("idc", images(held[0], path, wanted), labels_N, (path,), spaces=("raw",))


def read_mtt(path: Path, wanted: Wanted) -> Foreign:
    """Read what MTT and its followers leave: ``images_best.pt``, ``labels_best.pt``, at best
    ``lr_best.pt``.
    """
    found = _of_folder("mtt", path, "images_best.pt", "labels_best.pt", "lr_best.pt", True, wanted)
    return replace(found, convention="mtt")


def read_tensors(path: Path, wanted: Wanted) -> Foreign:
    """Read ``images.pt``; ``labels.pt`` and ``lr.pt`` where they are. Without labels the images lie class by
    class.

    An ``about.json`` beside them, as this package's exports have, says in which order the classes are, by
    which statistics the numbers are standardised, and that learned labels are logits.

    Source: the input layout of DD-Ranking v0.2.
    """
    found = _of_folder("tensors", path, "images.pt", "labels.pt", "lr.pt", False, wanted)
    told = beside(path)
    return replace(found, order=told.classes, statistics=told.statistics, logits=told.logits)


def read_random(path: Path, wanted: Wanted) -> Foreign:
    """Read a selection of DC-BENCH: ``…_images.pt`` and, beside it, ``…_labels.pt``."""
    beside = path.name.removesuffix("_images.pt") + "_labels.pt"
    return _of_folder("random", path.parent, path.name, beside, None, True, wanted)


def read_kip(path: Path, wanted: Wanted) -> Foreign:
    """Read what KIP leaves: an archive with ``images`` (N, H, W, C) and ``labels``, a row of targets for
    each.

    The targets of its regression are no probabilities, so that their largest entry is taken as the class.
    Sets with KIP's own whitening, of images scaled to unit norm, cannot be mapped to what students see here.
    """
    arrays = load_npz(path, ("images", "labels"), wanted)
    if len(arrays) != 2:
        raise InputError(KEY, path, "an archive with images and labels")
    found = dense(arrays["images"], path, "images", wanted)
    if found.ndim != 4:
        raise InputError(KEY, path, f"images of shape (N, H, W, C); found {tuple(found.shape)}")
    classes = dense(arrays["labels"], path, "labels", wanted)
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
