"""What a call about a synthetic set works with: its plan, its real images and the file that holds it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from moe_distill.api.distilling import DistilledSet, require_real
from moe_distill.api.keywords import settings_of
from moe_distill.api.session import DataInMemory, Session, named_by, session
from moe_distill.config.folders import options
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.store.identity import key
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion

KIND = "set_in_memory"
# Keywords that decide how students are trained, and not what the set is.
PROTOCOL = ("students", "recipe", "fusion", "seeds", "mixup_alpha", "mixup_pairing", "student_epochs")
# Keywords that decide where and how a call works, and no number.
SURROUNDINGS = ("paths", "name", "threads", "trainer", "logger", "config_dir")


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
        InputError: The test images do not fit the set, or a keyword is one of another set.
    """
    sets = SyntheticSet.union([synthetic]) if isinstance(synthetic, SyntheticSet) else synthetic
    if not isinstance(sets, SyntheticUnion):
        allowed = "a set that md.distill returned, or one that SyntheticSet.load has read"
        raise InputError("synthetic", type(sets).__name__, allowed)
    require_real(test=test, **({} if train is None else {"train": train}))
    if isinstance(sets, DistilledSet):
        known, start = sets.data.train if train is None else train, sets.keywords
    else:
        known = DescribedData.of(sets) if train is None else train
        with named_by(keywords):
            start = {"method": _method_of(sets), "ipc": sets.provenance.ipc, "noe": len(sets.members)}
    settings = settings_of(keywords)
    merged = {**settings_of(start), **settings}
    if "split" in settings:  # which sets both, here to other numbers
        merged = {name: value for name, value in merged.items() if name not in ("ipc", "noe")}
    with session(merged, DataInMemory(known, _as_seen(test, known)), progress, pipeline) as opened:
        path = _path_in(opened, sets, settings)
        yield opened, None if path is None else str(path)


def _path_in(opened: Session, sets: SyntheticUnion, settings: Mapping[str, Any]) -> Path | None:
    """Return the file or folder of a set; None for the set of the session's plan, if the store holds it.

    One that was made or changed in memory is written to the store.

    Raises:
        InputError: By one of the call's settings, another set would have been distilled.
    """
    store = opened.runtime.store
    if isinstance(sets, DistilledSet):
        _require_made_by(opened, sets, settings)
    if sets.path is not None and sets.is_as_read:
        is_of_plan = isinstance(sets, DistilledSet) and sets.path.parent.parent == store.root
        return None if is_of_plan else sets.path

    folder = store.obtain(KIND, {"fingerprint": sets.fingerprint()}, sets.save)
    return folder if len(sets.members) > 1 else folder / "expert_0.safetensors"


def _require_made_by(opened: Session, sets: DistilledSet, settings: Mapping[str, Any]) -> None:
    plan, cache = opened.pipeline.main_plan, opened.runtime.cache
    real, _ = plan.data.load(cache)
    if key(plan.settings(real, cache)) == sets.key:
        return
    others = [name for name in settings if name.partition(".")[0] not in (*PROTOCOL, *SURROUNDINGS)]
    name = others[0] if others else "train"
    allowed = (
        "leave it out: with it, it would be another set; pass SyntheticSet.load(synthetic.path) for this one"
    )
    raise InputError(name, settings.get(name, "other images"), allowed)


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
