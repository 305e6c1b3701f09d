"""Train networks on a set and test them, and what else a set is judged by."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from moe_distill.api.distilling import DistilledSet
from moe_distill.api.plain_errors import with_plain_errors
from moe_distill.api.session import GivenData, Session, named_by, session
from moe_distill.config.folders import options
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.evaluation.columns import cells_of
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.pipelines.evaluate import SetStudents
from moe_distill.results.results import Results
from moe_distill.store.store import Store
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion

KIND = "given_set"
# How students are trained, which `like` takes from other results.
_OF_PROTOCOL = ("students", "recipe", "fusion", "seeds", "mixup_alpha", "mixup_pairing", "student_epochs")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Results):
    """Results of one set.

    Attributes:
        protocol: How its students were trained, for ``evaluate(…, like=results)``.
    """

    protocol: EvaluationProtocol | None = None


@with_plain_errors
def evaluate(
    synthetic: SyntheticUnion | SyntheticSet,
    test: RealSet,
    *,
    train: RealSet | None = None,
    like: Evaluation | None = None,
    progress: bool = True,
    **keywords: Any,
) -> Evaluation:
    """Train fresh networks on a set and test each on real images; those in the store are not trained again.

    Args:
        synthetic: A set: distilled now, or read by :meth:`SyntheticSet.load`.
        test: The real test images. They are normalised as the set's.
        train: The real training images, for recipes whose labels come from a teacher; a set that
            :func:`~moe_distill.distill` returned knows its own.
        like: Results whose students, recipe, mixing and seeds are taken, so that both can be compared.
        progress: Whether long work shows a progress bar.
        **keywords: Any option of the command line, on top of those that the set was distilled with:
            ``students=["convnet3", "timm/convnext_atto", MyNetwork]`` (names, classes or functions that make
            a ``torch.nn.Module``, or a mapping of such by name), ``recipe="dsa"``, ``seeds=3`` …

    Returns:
        A row for each network and seed.

    Raises:
        InputError: A keyword is unknown or has a wrong value, or the test images do not fit the set.
        KeyboardInterrupt: The call was interrupted; the same call goes on.

    Example:
        >>> import moe_distill as md, tempfile
        >>> train, test = md.load_dataset("digits")
        >>> quick = {"scale": "smoke", "store": tempfile.mkdtemp(), "progress": False}
        >>> len(md.evaluate(md.random_images(train, 1, **quick), test, students="mlp", seeds=2))
        2
    """
    if like is not None and (both := [name for name in _OF_PROTOCOL if name in keywords]):
        raise InputError(both[0], keywords[both[0]], "left out beside like=, which sets it")
    with opened_for(synthetic, test, train, progress, "evaluate", keywords) as (opened, path):
        return _evaluated(opened, path, None if like is None else like.protocol)


def _evaluated(opened: Session, path: str | None, protocol: EvaluationProtocol | None) -> Evaluation:
    """Train and test the students of a session's set.

    Args:
        opened: The session.
        path: The set's; None for the set of the session's plan.
        protocol: How they are trained; None for the session's protocol.
    """
    plan, protocol = opened.pipeline.plan, protocol or opened.pipeline.protocol
    real, _ = plan.data.load(opened.runtime.cache)
    if path is None:
        protocol.check(real, plan.decoded(real))
    with opened.tracked():
        rows = SetStudents(plan, protocol, path).make(opened.runtime)
        opened.runtime.tracker.results(rows, opened.runtime.costs)
    return Evaluation([cells_of(row) for row in rows], protocol)


@contextlib.contextmanager
def opened_for(
    synthetic: SyntheticUnion | SyntheticSet,
    test: RealSet,
    train: RealSet | None,
    progress: bool,
    pipeline: str,
    keywords: Mapping[str, Any],
) -> Iterator[tuple[Session, str | None]]:
    """Open the surroundings of a call about a set.

    Args:
        synthetic: The set.
        test: The real test images.
        train: The real training images, if the set does not know them.
        progress: Whether long work shows a progress bar.
        pipeline: The pipeline that the call runs.
        keywords: The call's keywords.

    Yields:
        The session, and the path of the set; None for the set of the session's own plan.

    Raises:
        InputError: The test images do not fit the set.
    """
    sets = SyntheticSet.union([synthetic]) if isinstance(synthetic, SyntheticSet) else synthetic
    if isinstance(sets, DistilledSet):
        assert sets.data is not None
        known, start = sets.data.train if train is None else train, sets.keywords
    else:
        known = DescribedData.of(sets) if train is None else train
        with named_by(keywords):
            start = {"method": _method_of(sets), "ipc": sets.provenance.ipc, "noe": len(sets.members)}
    merged = {**start, **keywords}
    merged["options"] = {**start.get("options", {}), **keywords.get("options", {})}
    if "split" in keywords:
        merged = {name: value for name, value in merged.items() if name not in ("ipc", "noe")}
    data = GivenData(known, _as_seen(test, known))
    with session(merged, data, progress, pipeline) as opened:
        path = None if isinstance(sets, DistilledSet) else str(_path_of(sets, opened.runtime.store))
        yield opened, path


@dataclass(frozen=True, eq=False, repr=False)
class DescribedData(RealSet):
    """The real training images of a set that was read from a file: all that the file tells of them.

    Args:
        known_fingerprint: Their fingerprint.
    """

    known_fingerprint: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the images, which are not here."""
        return self.known_fingerprint

    @classmethod
    def of(cls, sets: SyntheticUnion) -> "DescribedData":
        """Return what a set tells of the images that it was distilled from."""
        p, (_, channels, size, _) = sets.provenance, sets.members[0].images.shape
        return cls(
            images_NCHW=torch.zeros(0, channels, size, size, dtype=torch.uint8),
            labels_N=torch.zeros(0, dtype=torch.long),
            classes=tuple(p.classes),
            mean=tuple(p.mean),
            std=tuple(p.std),
            name=p.dataset,
            variant=p.data_variant,
            whitening=sets.members[0].normalisation.whitening,
            known_fingerprint=p.data_fingerprint,
        )


def _method_of(sets: SyntheticUnion) -> str:
    """Return the method of a set, whose recipe is the usual one; ``random`` for several or an unknown one."""
    methods = {member.provenance.method for member in sets.members}
    return methods.pop() if len(methods) == 1 and methods <= {*options("method")} else "random"


def _as_seen(test: RealSet, train: RealSet) -> RealSet:
    """Return the test images normalised as the training images.

    Raises:
        InputError: They have other classes or another shape.
    """
    for what in ("classes", "channels", "size"):
        if getattr(test, what) != getattr(train, what):
            raise InputError(
                "test", f"{what} {getattr(test, what)}", f"the set's {what}, {getattr(train, what)}"
            )
    return replace(test, mean=train.mean, std=train.std, whitening=train.whitening)


def _path_of(sets: SyntheticUnion, store: Store) -> Path:
    """Return the file or folder of a set; one that was made or changed in memory is written to the store."""
    if sets.path is not None and SyntheticSet.load(sets.path).fingerprint() == sets.fingerprint():
        return sets.path

    folder = store.obtain(KIND, {"fingerprint": sets.fingerprint()}, sets.save)
    return folder if len(sets.members) > 1 else folder / "expert_0.safetensors"
