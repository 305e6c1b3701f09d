"""Readers of the sets that published programs write, one function for each layout."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.about import read_about
from moe_distill.synthetic.formats.foreign import KEY, ForeignSet, TargetData
from moe_distill.synthetic.formats.loading import checked_tensor, images, load_npz, load_pickle, load_pt, rate


def read_dc(path: Path, wanted: TargetData) -> ForeignSet:
    """Read a set of DC, DSA or DM: a dict whose ``data`` lists pairs (images, labels).

    Raises:
        InputError: If the file is broken, holds something else, or does not fit the data.
    """
    content = load_pt(path, wanted)
    try:
        images_NCHW, labels_N = content["data"][-1]  # a pair for each experiment; the last is taken
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(KEY, path, "a dict whose 'data' lists pairs of images and labels") from error
    name_match = re.match(r"res_([A-Za-z0-9]+)_", path.name)
    method = name_match[1].lower() if name_match else "dc"
    labels_N = checked_tensor(labels_N, path, "labels", wanted)
    return ForeignSet(method, images(images_NCHW, path, wanted), labels_N, (path,), convention="dc")


def read_idm(path: Path, wanted: TargetData) -> ForeignSet:
    """Read a set of IDM, ``acc_<accuracy>.pkl``: a pickled pair of standardised images and class numbers.

    Its images hold two tiles per side, numbered column by column, unless the folder's name has ``aug_False``.

    Source: IDM_cifar10.py of uitrbn/IDM, whose commands all set ``--aug`` and never ``--zca``; it writes into
        a folder ``<data>_ipc_<n>_aug_<True or False>_model_<network>``.

    Raises:
        InputError: If the file is broken, holds something else, or does not fit the data.
    """
    values = load_pickle(path, wanted)
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise InputError(KEY, path, "a pickled pair of tensors, images and labels")
    pixels, labels_N = images(values[0], path, wanted), checked_tensor(values[1], path, "labels", wanted)
    # The factor is that of IDM's ``--aug``, which the tensors themselves do not show.
    factor = 1 if "_aug_False_" in path.absolute().parent.name else 2
    return ForeignSet(
        "idm",
        pixels,
        labels_N,
        (path,),
        spaces=("standardised",),
        factor=factor,
        by_column=factor > 1,
        convention="mtt",
    )


def read_idc(path: Path, wanted: TargetData) -> ForeignSet:
    """Read a set of IDC: a list of raw images and labels. The files do not hold the tiling factor.

    Raises:
        InputError: If the file is broken, holds something else, or does not fit the data.
    """
    content = load_pt(path, wanted)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise InputError(KEY, path, "a list of two tensors, images and labels")
    labels_N = checked_tensor(content[1], path, "labels", wanted)
    return ForeignSet("idc", images(content[0], path, wanted), labels_N, (path,), spaces=("raw",))


def read_mtt(path: Path, wanted: TargetData) -> ForeignSet:
    """Read a set of MTT or its followers: ``images_best.pt``, ``labels_best.pt`` and perhaps ``lr_best.pt``.

    Raises:
        InputError: If a file is missing, broken, or does not fit the data.
    """
    files = _SetFiles("images_best.pt", "labels_best.pt", "lr_best.pt", needs_labels=True)
    return replace(_of_folder("mtt", path, files, wanted), convention="mtt")


def read_tensors(path: Path, wanted: TargetData) -> ForeignSet:
    """Read ``images.pt`` and, if they are there, ``labels.pt`` and ``lr.pt``.

    Images without labels are taken to be in the order of the classes. An ``about.json`` beside them, which
    this package's exports have, gives the order of the classes and the statistics that values are
    standardised by, and makes learned labels logits.

    Source: the input layout of DD-Ranking v0.2.

    Raises:
        InputError: If a file is missing, broken, or does not fit the data.
    """
    files = _SetFiles("images.pt", "labels.pt", "lr.pt")
    about = read_about(path)
    return replace(
        _of_folder("tensors", path, files, wanted),
        order=about.classes,
        statistics=about.statistics,
        logits=about.logits,
    )


def read_random(path: Path, wanted: TargetData) -> ForeignSet:
    """Read a selection of DC-BENCH: ``…_images.pt`` and, beside it, ``…_labels.pt``.

    Raises:
        InputError: If a file is missing, broken, or does not fit the data.
    """
    labels = path.name.removesuffix("_images.pt") + "_labels.pt"
    return _of_folder("random", path.parent, _SetFiles(path.name, labels, needs_labels=True), wanted)


def read_kip(path: Path, wanted: TargetData) -> ForeignSet:
    """Read a set of KIP: an archive with ``images`` (N, H, W, C) and ``labels``, a row of targets for each.

    Sets with KIP's whitening, of images scaled to unit norm, cannot be mapped to the pixels of this package.

    Raises:
        InputError: If the file is broken, holds something else, or does not fit the data.
    """
    arrays = load_npz(path, ("images", "labels"), wanted)
    if len(arrays) != 2:
        raise InputError(KEY, path, "an archive with images and labels")
    images_NHWC = checked_tensor(arrays["images"], path, "images", wanted)
    if images_NHWC.ndim != 4:
        raise InputError(KEY, path, f"images of shape (N, H, W, C); found {tuple(images_NHWC.shape)}")
    classes = checked_tensor(arrays["labels"], path, "labels", wanted)
    # The targets of its kernel regression are no probabilities: only their largest entry has a meaning here.
    if classes.ndim == 2 and classes.shape[1] == len(wanted.classes):
        classes = classes.argmax(1)
    pixels = images(images_NHWC.permute(0, 3, 1, 2), path, wanted)
    return ForeignSet("kip", pixels, classes, (path,), spaces=("raw", "standardised"))


@dataclass(frozen=True)
class _SetFiles:
    """Names of the files of a set in a folder."""

    images: str
    labels: str
    learned_rate: str | None = None
    needs_labels: bool = False


def _of_folder(method: str, folder: Path, names: _SetFiles, wanted: TargetData) -> ForeignSet:
    labels: torch.Tensor | None = None
    learned_rate: float | None = None
    paths = [folder / names.images]
    images_NCHW = images(load_pt(paths[0], wanted), paths[0], wanted)
    labels_path = folder / names.labels
    if names.needs_labels or labels_path.exists():
        paths.append(labels_path)
        labels = checked_tensor(load_pt(labels_path, wanted), labels_path, "labels", wanted)
    if names.learned_rate is not None and (folder / names.learned_rate).exists():
        rate_path = folder / names.learned_rate
        paths.append(rate_path)
        learned_rate = rate(load_pt(rate_path, wanted), rate_path, wanted)
    return ForeignSet(method, images_NCHW, labels, tuple(paths), learned_rate)
