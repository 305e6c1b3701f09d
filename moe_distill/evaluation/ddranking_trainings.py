"""What a score compares: a set under its own and plain recipes with all real images and with as many random
ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt, MinLen

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.training_set import TrainingSet, training_set_of_real
from moe_distill.results.schema import TRAININGS
from moe_distill.seeding import stream
from moe_distill.training.fusion import Fusion
from moe_distill.training.mixing import NoFusion
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import Positive, checked

Rates = Annotated[Sequence[Positive], MinLen(1)]
SelectOn = Literal["held_out", "test"]
Part = Annotated[float, Gt(0), Lt(1)]


@checked
@dataclass(frozen=True)
class Search:
    """How first learning rates are chosen.

    Args:
        lrs: The rates tried, the first of the best is taken; a single one is taken as it is.
        select_on: What judges them: ``held_out`` real training images, or the ``test`` set as in the
            published code.
        held_out: Share of every class of the real training images that is held out.
    """

    lrs: Rates
    select_on: SelectOn
    held_out: Part

    @property
    def rule(self) -> str:
        """How a rate that is not learned was come by, as recorded: ``held_out``, ``test`` or ``given``."""
        return self.select_on if len(self.lrs) > 1 else "given"

    @property
    def needs_held_out(self) -> bool:
        """Whether real images must be held out."""
        return self.rule == "held_out"

    def check(self, real: RealSet, wanted: int) -> None:
        """Refuse to hold out so much that too little is left to draw random images from.

        Args:
            real: The real training images.
            wanted: Random images per class: as many as the set stores.

        Raises:
            InputError: The kept part has too few; where all real images are too few, that is no fault of the
                share.
        """
        left = int(self.split(real)[0].counts().min()) if self.needs_held_out else wanted
        if left < wanted <= int(real.counts().min()):
            allowed = (
                f"a share that leaves {wanted} images of each class, as many as the set has; it leaves {left}"
            )
            raise InputError("pipeline.held_out", self.held_out, allowed)

    def split(self, real: RealSet) -> tuple[RealSet, RealSet]:
        """Return the real images that are kept and those held out, drawn class by class; alike for every set.

        Raises:
            InputError: A class has one image only.
        """
        rng = stream(0, "score", "held out")
        if int(real.counts().min()) < 2:
            raise InputError("pipeline.select_on", "held_out", "test, where a class has a single image")
        kept, held = [], []
        for c in range(len(real.classes)):
            rows = real.class_indices(c)
            count = min(max(1, round(self.held_out * len(rows))), len(rows) - 1)
            shuffled = rows[torch.randperm(len(rows), generator=rng)]
            held.append(shuffled[:count])
            kept.append(shuffled[count:])
        return real.subset(torch.cat(kept).sort().values), real.subset(torch.cat(held).sort().values)


def random_subset(real: RealSet, test: RealSet, stored: Sequence[int], student: int) -> TrainingSet:
    """Return the random real images that one student trains on, as many per class as a set stores.

    Args:
        real: Where they are drawn from, without replacement; lies on the device.
        test: What the student is tested on.
        stored: Images per class of each expert of the set; the random ones are dealt out likewise.
        student: The student's seed; each draws images of its own.

    Raises:
        InputError: A class has too few.
    """
    rng, wanted = stream(student, "score", "random subset"), sum(stored)
    smallest = int(real.counts().min())
    if wanted > smallest:
        allowed = (
            f"at most {smallest}, the real images of the smallest class that random ones can be drawn from"
        )
        raise InputError("ipc × noe", wanted, allowed)
    classes = range(len(real.classes))
    drawn = [
        real.class_indices(c)[torch.randperm(len(real.class_indices(c)), generator=rng)[:wanted]]
        for c in classes
    ]
    whole = training_set_of_real(real.subset(torch.cat(drawn)), test)
    experts_M = torch.arange(len(stored)).repeat_interleave(torch.tensor(stored)).repeat(len(classes))
    columns = {
        **whole.columns,
        "method": "random",
        "roster": f"random{wanted}x1",
        "ipc": wanted,
        "init": "random",
    }
    columns["distill_seed"] = student  # whose own images they are
    settings = {**whole.settings, "dealt": list(stored)}
    return replace(whole, pool=replace(whole.pool, experts_M=experts_M), settings=settings, columns=columns)


@dataclass(frozen=True)
class Training:
    """One of the trainings that a score compares.

    Args:
        finals: What the students train on: one candidate for all of them, or one for each.
        trials: The same for the choice of the learning rate, with what judges it in place of the test set.
        recipe: How they train.
        fusion: How images of different experts are mixed meanwhile.
    """

    finals: Sequence[TrainingSet]
    trials: Sequence[TrainingSet]
    recipe: Recipe
    fusion: Fusion


Dealt = Callable[[RealSet, int], TrainingSet]
"""Draws the random images of a part of the real data that a student, by its seed, trains on."""


def trainings(
    own: TrainingSet,
    data: tuple[RealSet, RealSet],
    dealt: Dealt,
    protocol: EvaluationProtocol,
    real: Recipe,
    search: Search,
) -> dict[str, Training]:
    """Return the six trainings by name; all images lie on the device.

    The plain ones leave out everything that changes images while a student trains: augmentation, CutMix,
    fusion. Towards hard labels a set is trained by its own recipe where these are its labels, else by the
    plain one, as published.
    """
    train, test = data
    search.check(train, sum(own.stored))
    finals = trials = _candidates(own, train, test, dealt, protocol.numbers)
    if search.needs_held_out:
        kept, judge = search.split(train)
        parts = _candidates(own, kept, test, dealt, protocol.numbers)
        trials = {
            name: [_judged_by(judge, c) for c in training_sets] for name, training_sets in parts.items()
        }
    plain = protocol.recipe
    if any(changes is not None for changes in (plain.augment, plain.cutmix, plain.pixels)):
        plain = replace(plain, name=f"{plain.name}-plain", augment=None, cutmix=None, pixels=None)
    any_way = (protocol.recipe, protocol.fusion)
    ways = {
        "syn_any": any_way,
        "rnd_any": (unlabelled(protocol.recipe), protocol.fusion),
        "syn_hard": any_way if labels_of(own) == "hard" else (replace(plain, labels="hard"), NoFusion()),
        "real_hard": (real, NoFusion()),
        "syn_plain": (plain, NoFusion()),
        "rnd_plain": (unlabelled(plain), NoFusion()),
    }
    return {name: Training(finals[name], trials[name], *ways[name]) for name in TRAININGS}


def _candidates(
    own: TrainingSet, part: RealSet, test: RealSet, dealt: Dealt, students: Sequence[int]
) -> dict[str, list[TrainingSet]]:
    random = [dealt(part, student) for student in students]
    own_and_random = {"syn_any": [own], "rnd_any": random, "syn_plain": [own], "rnd_plain": random}
    return {
        **own_and_random,
        "syn_hard": [hard_labelled(own)],
        "real_hard": [training_set_of_real(part, test)],
    }


def unlabelled(recipe: Recipe) -> Recipe:
    """Return a set's recipe for images that have no soft labels of their own: a temperature then has none to
    act on.
    """
    stored = recipe.labels == "set" and recipe.temperature != 1
    return replace(recipe, labels="hard") if stored else recipe


def labels_of(training_set: TrainingSet) -> str:
    """Name what students of a candidate are trained towards: ``hard`` labels, ``soft`` ones, or a
    ``teacher``'s.
    """
    soft = "hard" if training_set.pool.targets_MC is None else "soft"
    return soft if training_set.pool.label is None else "teacher"


def hard_labelled(own: TrainingSet) -> TrainingSet:
    """Return a hard set as it is; others without soft labels, teacher and the step size learned with them."""
    if labels_of(own) == "hard":
        return own
    columns = {**own.columns, "roster": f"{own.columns['roster']} hard labels"}
    pool = replace(own.pool, targets_MC=None, label=None)
    return replace(own, pool=pool, lr=None, settings={"hard_labels_of": own.settings}, columns=columns)


def _judged_by(judge: RealSet, training_set: TrainingSet) -> TrainingSet:
    columns = {**training_set.columns, "roster": f"{training_set.columns['roster']} held out"}
    settings = {"trained_on": training_set.settings, "judged_by": judge.fingerprint}
    return replace(training_set, test=judge, settings=settings, columns=columns)
