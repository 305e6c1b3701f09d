"""How sets are judged: which students are trained on them, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError, within
from moe_distill.models.base import NetworkFactory, rehearse
from moe_distill.store.identity import identity, key
from moe_distill.training.fusion import Fusion
from moe_distill.training.recipe import Recipe, last_batch
from moe_distill.validation.values import Students, checked


@checked
@dataclass(frozen=True)
class EvaluationProtocol:
    """How sets are judged.

    Args:
        students: Builders of the networks trained on a set, by the name recorded with the result.
        recipe: How they are trained.
        fusion: How images of different experts are mixed meanwhile.
        seeds: Number of students per architecture; their seeds are ``first``, ``first`` + 1, ….
        first: See ``seeds``.
    """

    students: Mapping[str, NetworkFactory]
    recipe: Recipe
    fusion: Fusion
    seeds: Students
    first: int = 0

    def __post_init__(self) -> None:
        """Refuse to judge by nobody."""
        if not self.students:
            raise FieldError("students", dict(self.students), "at least one network")

    def check(self, real: RealSet, images: int) -> None:
        """Refuse students that cannot be made or trained, before any work.

        Args:
            real: The real training data.
            images: How many images they are trained on.

        Raises:
            FieldError: They cannot.
        """
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        batch = last_batch(self.fusion.left_of(images, len(real.classes)), self.recipe.batch_size)
        for name, network in self.students.items():
            with within(f"students.{name}"):
                rehearse(network, **shape, batch=batch)
        with within("recipe"):
            self.recipe.check()

    @property
    def numbers(self) -> range:
        """The students' seeds."""
        return range(self.first, self.first + self.seeds)

    @property
    def recipe_key(self) -> str:
        """What rows call the recipe by all its settings."""
        return key(self.recipe)[:8]

    def columns(self, name: str, experts: int) -> dict[str, Any]:
        """Return the columns of rows about one architecture's students on a set of some experts that it
        decides.
        """
        width = getattr(self.students[name], "keywords", {}).get("width", 1.0)
        about = {
            "recipe": self.recipe.name,
            "recipe_key": self.recipe_key,
            "architecture": name,
            "width": width,
        }
        return {"fusion": self.fusion.describe_for(experts), **about}

    def settings(self, trained_on: Mapping[str, Any], test: RealSet, name: str) -> dict[str, Any]:
        """Return what decides one architecture's students and accuracies but for their seeds.

        The name is part of it: it decides a student's random stream, and its rate where the recipe gives it
        one.
        """
        return {
            "set": trained_on,
            "test": test.fingerprint,
            "student": name,
            "network": self.students[name],
            "recipe": self.recipe,
            "fusion": self.fusion,
        }

    def keys(self, trained_on: Mapping[str, Any], test: RealSet, name: str) -> dict[int, str]:
        """Return what each row of one architecture is stored under (its ``config_hash``), by the student's
        seed.
        """
        common = identity(self.settings(trained_on, test, name))
        return {seed: key({**common, "seed": seed}) for seed in self.numbers}
