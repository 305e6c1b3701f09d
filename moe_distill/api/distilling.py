"""Distil real images, or pick some of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from moe_distill.api.plain_errors import with_plain_errors
from moe_distill.api.session import DataInMemory, session
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.experts.distillation import RECORDED, Distillation
from moe_distill.pipelines.full import set_stages
from moe_distill.pipelines.stage import make_all
from moe_distill.store.store import Store
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion

Selection = Literal[
    "random",
    "first",
    "herding",
    "kcenter",
    "kmeans",
    "random_tiled",
    "herding_tiled",
    "kcenter_tiled",
    "kmeans_tiled",
    "el2n",
    "forgetting",
    "aum",
    "ccs",
    "el2n_tiled",
    "forgetting_tiled",
    "aum_tiled",
    "ccs_tiled",
]


@dataclass(frozen=True, repr=False, kw_only=True)
class DistilledSet(SyntheticUnion):
    """The sets of all experts, and what made them.

    Attributes:
        key: What the store holds it under.
        seconds: How long the distillation took, whenever it ran; its pretrained networks not included.
        dcor2: Mean unbiased dCor² between the experts through the feature networks; None for one expert.
        settings: What decided the images.
        data: The real images.
        keywords: The call's, which :func:`moe_distill.evaluate` starts from.
    """

    key: str
    seconds: float
    dcor2: float | None
    settings: Mapping[str, Any]
    data: DataInMemory
    keywords: Mapping[str, Any]


@with_plain_errors
def distill(
    train: RealSet, *, test: RealSet | None = None, progress: bool = True, **keywords: Any
) -> DistilledSet:
    """Distil real images into a few synthetic ones a class, with one expert or several.

    Networks that the method or the diversity term needs are trained first. Whatever is in the store already
    is found there: the same call does nothing, and one that was interrupted goes on. Keys and store are those
    of ``moe-distill``, which finds what a notebook distilled, and the other way round.

    Args:
        train: The real training images.
        test: Test images, on which pretrained networks are tested for the record; nothing of them reaches the
            synthetic images. None leaves their accuracies unknown.
        progress: Whether long work shows a progress bar.
        **keywords: Any option of the command line: ``method="idm"``, ``ipc=5``, ``noe=2``,
            ``network="convnet3"``, ``diversity="dcor_relu"``, ``seed=0``, ``scale="small"``,
            ``store="runs/store"`` … ``options={"method.lr": 0.1}`` sets any leaf. An object may stand for a
            name: a :class:`~moe_distill.methods.base.Method` subclass, or a partial of one, as ``method``; a
            class or function that makes a ``torch.nn.Module`` as ``network``; a function as ``init``; a
            measure as ``diversity``; an optimizer's class as ``optimizer``. ``config_dir="conf"`` names a
            folder of yamls whose options are known too.

    Raises:
        InputError: A keyword is unknown or has a wrong value; nothing was computed then.
        KeyboardInterrupt: The call was interrupted; the same call goes on.

    Example:
        >>> import moe_distill as md, tempfile
        >>> train, test = md.load_dataset("digits")
        >>> store = tempfile.mkdtemp()
        >>> synthetic = md.distill(train, method="random", ipc=2, noe=1, store=store, progress=False)
        >>> synthetic, len(synthetic.dataset())
        (random2x1 of digits: 20 images of 1 × 8 × 8, 20)
    """
    require_real(train=train, **({} if test is None else {"test": test}))
    data = DataInMemory(train, untested(train) if test is None else test)
    with session(keywords, data, progress) as opened:
        plan: Distillation = opened.pipeline.plan
        with opened.tracked():
            make_all(set_stages(plan, opened.runtime.results), opened.runtime)
        seen, _ = plan.data.load(opened.runtime.cache)
        return _of_store(plan.find(opened.runtime.store, seen), opened.runtime.store, data, keywords)


def require_real(**sets: object) -> None:
    """Refuse arguments that are no sets of real images."""
    for name, value in sets.items():
        if not isinstance(value, RealSet):
            allowed = (
                "a RealSet: RealSet.from_tensors(images, labels) makes one; so do from_dataset, from_folder"
            )
            raise InputError(name, type(value).__name__, allowed)


def _of_store(folder: Path, store: Store, data: DataInMemory, keywords: Mapping[str, Any]) -> DistilledSet:
    metadata = store.read_metadata(folder, **RECORDED)
    return DistilledSet(
        SyntheticSet.load(folder).members,
        path=folder,
        key=folder.name,
        seconds=metadata["cost"]["seconds"],
        dcor2=metadata["dcor2_unbiased"],
        settings=store.manifest(folder)["settings"],
        data=data,
        keywords=keywords,
    )


def random_images(train: RealSet, ipc: int, **keywords: Any) -> DistilledSet:
    """Return random real images as a set, the baseline of every method.

    Args:
        train: The real training images.
        ipc: Images per class.
        **keywords: As for :func:`distill`.

    Example:
        >>> import moe_distill as md, tempfile
        >>> train, _ = md.load_dataset("digits")
        >>> md.random_images(train, 3, store=tempfile.mkdtemp(), scale="smoke", progress=False)
        random3x1 of digits: 30 images of 1 × 8 × 8
    """
    return coreset(train, ipc, "random", **keywords)


@with_plain_errors
def coreset(train: RealSet, ipc: int, selection: Selection = "herding", **keywords: Any) -> DistilledSet:
    """Return real images that a rule selects, as a set.

    Args:
        train: The real training images.
        ipc: Images per class.
        selection: The rule: ``random``, ``first``, or by features of a pretrained network ``herding``
            (Welling 2009), ``kcenter`` (Sener and Savarese 2018) or ``kmeans``. ``random_tiled`` and its like
            shrink the images and store several in the place of one. By how difficult networks find images:
            ``el2n`` (Paul et al. 2021), ``forgetting`` (Toneva et al. 2019) and ``aum`` (Pleiss et al. 2020)
            take the easiest, ``ccs`` (Zheng et al. 2023) all but the hardest.
        **keywords: As for :func:`distill`.

    Example:
        >>> import moe_distill as md, tempfile
        >>> train, _ = md.load_dataset("digits")
        >>> md.coreset(train, 3, "kmeans", store=tempfile.mkdtemp(), scale="smoke", progress=False)
        kmeans3x1 of digits: 30 images of 1 × 8 × 8
    """
    if selection not in get_args(Selection):
        raise InputError("selection", selection, f"one of {', '.join(get_args(Selection))}")
    for name in ("method", "noe"):
        if name in keywords:
            raise InputError(name, keywords[name], "leave it out: md.distill takes it")
    return distill(train, method=selection, ipc=ipc, noe=1, **keywords)


def untested(train: RealSet) -> RealSet:
    """Return an empty test set of the same classes: networks trained beside it have no test accuracy."""
    return train.subset(torch.arange(0))
