"""The six trainings that a DD-Ranking score compares: the set, all real images, and as many random ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt, MinLen

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.evaluation.columns import StudentRow
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
    """How the initial learning rate of a training is chosen.

    Args:
        lrs: The rates to try. The one of the best students is used, of several equally good ones the first;
            a single rate is used without a trial.
        select_on: What the trials' students are tested on: ``held_out`` real training images, or the ``test``
            set as in the published code.
        held_out: Share of every class of the real training images that is held out, in (0, 1).

    Example:
        >>> Search([0.01], "held_out", 0.2).rule, Search([0.01, 0.1], "held_out", 0.2).rule
        ('given', 'held_out')
    """

    lrs: Rates
    select_on: SelectOn
    held_out: Part

    @property
    def rule(self) -> str:
        """How the rate is chosen, as recorded in results: by ``held_out``, by ``test``, or ``given``."""
        return self.select_on if len(self.lrs) > 1 else "given"

    @property
    def needs_held_out(self) -> bool:
        """Whether some real images are held out."""
        return self.rule == "held_out"

    def check(self, real: RealSet, per_class: int) -> None:
        """Refuse to hold out so much that too little is left to draw random images from.

        Args:
            real: The real training images.
            per_class: Random images to draw per class: as many as the set stores.

        Raises:
            InputError: Too few are left of a class.
        """
        if not self.needs_held_out:
            return
        kept, _ = self.split(real)
        remaining = int(kept.counts().min())
        # If even all real images are too few, the share is not to blame; `random_subset` says so.
        if remaining < per_class <= int(real.counts().min()):
            allowed = (
                f"a share that leaves {per_class} images of each class, as many as the set has; "
                f"it leaves {remaining}"
            )
            raise InputError("pipeline.held_out", self.held_out, allowed)

    def split(self, real: RealSet) -> tuple[RealSet, RealSet]:
        """Return the real images that are kept and those held out, drawn from every class.

        Raises:
            InputError: A class has one image only.
        """
        # Seed 0 whatever the run's seed: all sets must be compared on the same held-out images.
        rng = stream(0, "score", "held out")
        if int(real.counts().min()) < 2:
            raise InputError("pipeline.select_on", "held_out", "test, where a class has a single image")
        kept, held_out = [], []
        for c in range(len(real.classes)):
            indices = real.class_indices(c)
            # At least one image of a class is held out, and at least one is kept.
            count = min(max(1, round(self.held_out * len(indices))), len(indices) - 1)
            shuffled = indices[torch.randperm(len(indices), generator=rng)]
            held_out.append(shuffled[:count])
            kept.append(shuffled[count:])
        # In the order of the data; the shuffle only decides which images are held out.
        return real.subset(torch.cat(kept).sort().values), real.subset(torch.cat(held_out).sort().values)


def random_subset(real: RealSet, test: RealSet, stored: Sequence[int], student: int) -> TrainingSet:
    """Return the random real images that one student trains on, as many per class as a set stores.

    Args:
        real: Where they are drawn from, without replacement; must be on the device.
        test: What the student is tested on.
        stored: Images per class of each expert of the set; the random ones are divided among as many experts.
        student: The student's seed; every student trains on images drawn for it alone.

    Raises:
        InputError: A class has too few images.
    """
    rng = stream(student, "score", "random subset")
    per_class = sum(stored)
    smallest = int(real.counts().min())
    if per_class > smallest:
        allowed = (
            f"at most {smallest}, the real images of the smallest class that random ones can be drawn from"
        )
        raise InputError("ipc × noe", per_class, allowed)
    drawn = []
    for c in range(len(real.classes)):
        indices = real.class_indices(c)
        drawn.append(indices[torch.randperm(len(indices), generator=rng)[:per_class]])
    subset = training_set_of_real(real.subset(torch.cat(drawn)), test)
    # Fusion mixes images of different experts, so the random ones need experts in the same proportions.
    experts_M = torch.arange(len(stored)).repeat_interleave(torch.tensor(stored)).repeat(len(real.classes))
    # `distill_seed` tells the students' own draws apart, as a seed does sets.
    columns: StudentRow = {
        **subset.columns,
        "method": "random",
        "roster": f"random{per_class}x1",
        "ipc": per_class,
        "init": "random",
        "distill_seed": student,
    }
    # The images alone do not say how they are divided, on which fusion depends.
    settings = {**subset.settings, "dealt": list(stored)}
    return replace(subset, pool=replace(subset.pool, experts_M=experts_M), settings=settings, columns=columns)


@dataclass(frozen=True)
class Training:
    """One of the trainings that a score compares.

    Args:
        finals: What the students train on: one set for all of them, or one for each.
        trials: The same for the choice of the learning rate, with the images that decide it as the test set.
        recipe: How they train.
        fusion: How images of different experts are mixed during training.
    """

    finals: Sequence[TrainingSet]
    trials: Sequence[TrainingSet]
    recipe: Recipe
    fusion: Fusion


DrawRandom = Callable[[RealSet, int], TrainingSet]
"""Draws, from some real images, those that the student of a seed trains on."""


def trainings(
    training_set: TrainingSet,
    data: tuple[RealSet, RealSet],
    draw_random: DrawRandom,
    protocol: EvaluationProtocol,
    real_recipe: Recipe,
    search: Search,
) -> dict[str, Training]:
    """Return the six trainings by name; all images must be on the device.

    The plain ones leave out everything that changes images while a student trains: augmentation, CutMix,
    fusion.

    Args:
        training_set: The set that is scored.
        data: The real training and test images.
        draw_random: Draws the random real images that the set is compared with.
        protocol: The set's own recipe, the networks, and how many students of each.
        real_recipe: How students of all real images are trained.
        search: How learning rates are chosen.

    Raises:
        InputError: So much is held out that there are too few real images left to draw random ones from.
    """
    train, test = data
    search.check(train, sum(training_set.stored))
    finals = _training_sets(training_set, train, test, draw_random, protocol.student_seeds)
    trials = finals
    if search.needs_held_out:
        kept, held_out = search.split(train)
        trial_sets = _training_sets(training_set, kept, test, draw_random, protocol.student_seeds)
        trials = {name: [_tested_on(held_out, each) for each in sets] for name, sets in trial_sets.items()}
    full = (protocol.recipe, protocol.fusion)
    plain = _plain(protocol.recipe)
    # As published: the set's own recipe if its labels are hard, else the plain one towards hard labels.
    hard = full if labels_of(training_set) == "hard" else (replace(plain, labels="hard"), NoFusion())
    ways = {
        "syn_any": full,
        "rnd_any": (without_set_labels(protocol.recipe), protocol.fusion),
        "syn_hard": hard,
        "real_hard": (real_recipe, NoFusion()),
        "syn_plain": (plain, NoFusion()),
        "rnd_plain": (without_set_labels(plain), NoFusion()),
    }
    return {name: Training(finals[name], trials[name], *ways[name]) for name in TRAININGS}


def _plain(recipe: Recipe) -> Recipe:
    """Return the recipe without anything that changes images; under its own name only if that is the same."""
    # Not renamed then, so that both trainings share their students in the store.
    if all(changes is None for changes in (recipe.augment, recipe.cutmix, recipe.pixels)):
        return recipe
    return replace(recipe, name=f"{recipe.name}-plain", augment=None, cutmix=None, pixels=None)


def _training_sets(
    training_set: TrainingSet,
    train: RealSet,
    test: RealSet,
    draw_random: DrawRandom,
    student_seeds: Sequence[int],
) -> dict[str, list[TrainingSet]]:
    """Return what the students of each training train on: one set for all of them, or one for each."""
    random = [draw_random(train, seed) for seed in student_seeds]
    return {
        "syn_any": [training_set],
        "rnd_any": random,
        "syn_plain": [training_set],
        "rnd_plain": random,
        "syn_hard": [hard_labelled(training_set)],
        "real_hard": [training_set_of_real(train, test)],
    }


def without_set_labels(recipe: Recipe) -> Recipe:
    """Return a set's recipe for images without soft labels, on which its temperature could not act."""
    tempers_set_labels = recipe.labels == "set" and recipe.temperature != 1
    return replace(recipe, labels="hard") if tempers_set_labels else recipe


def labels_of(training_set: TrainingSet) -> str:
    """Return what a set's students are trained towards: ``hard``, ``soft`` or a ``teacher``'s labels."""
    if training_set.pool.label is not None:  # a teacher goes before the set's own labels
        return "teacher"
    return "hard" if training_set.pool.targets_MC is None else "soft"


def hard_labelled(training_set: TrainingSet) -> TrainingSet:
    """Return the set with hard labels: without soft ones, teacher, and the step size learned with them."""
    if labels_of(training_set) == "hard":
        return training_set
    columns: StudentRow = {
        **training_set.columns,
        "roster": f"{training_set.columns['roster']} hard labels",
    }
    return replace(
        training_set,
        pool=replace(training_set.pool, targets_MC=None, label=None),
        lr=None,
        settings={"hard_labels_of": training_set.settings},
        columns=columns,
    )


def _tested_on(held_out: RealSet, training_set: TrainingSet) -> TrainingSet:
    """Return the set with held-out real images in place of the test set."""
    columns: StudentRow = {**training_set.columns, "roster": f"{training_set.columns['roster']} held out"}
    settings = {"trained_on": training_set.settings, "judged_by": held_out.fingerprint}
    return replace(training_set, test=held_out, settings=settings, columns=columns)
