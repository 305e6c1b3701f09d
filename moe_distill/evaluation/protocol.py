"""How sets are evaluated: which students are trained on them, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moe_distill.data.real_set import RealSet
from moe_distill.errors import FieldError, within
from moe_distill.evaluation.columns import StudentRow
from moe_distill.models.base import NetworkFactory, rehearse
from moe_distill.models.numerics import dtype_of
from moe_distill.store.identity import identity, key
from moe_distill.training.fusion import Fusion
from moe_distill.training.recipe import Recipe, last_batch
from moe_distill.validation.values import Students, checked


@checked
@dataclass(frozen=True)
class EvaluationProtocol:
    """How sets are evaluated: several students of each architecture are trained on a set and tested.

    Args:
        students: Builders of the networks trained on a set, by the name recorded with the result.
        recipe: How they are trained.
        fusion: How images of different experts are mixed during training.
        seeds: Number of students per architecture.
        first: Seed of the first student; the next ones count up from it.
    """

    students: Mapping[str, NetworkFactory]
    recipe: Recipe
    fusion: Fusion
    seeds: Students
    first: int = 0

    def __post_init__(self) -> None:
        """Refuse a protocol without students."""
        if not self.students:
            raise FieldError("students", dict(self.students), "at least one network")

    def check(self, real: RealSet, images: Sequence[int]) -> None:
        """Refuse students that cannot be made or trained, before any work.

        Args:
            real: The real training data.
            images: How many images from each expert they are trained on.

        Raises:
            FieldError: A network cannot be built for such images, or cannot take the last, smallest batch; or
                the recipe has fewer epochs than stages.
        """
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        # Batch normalisation fails on a single image, so the smallest batch of an epoch is the one to try.
        with within("recipe"):
            seen = [self.fusion.left_of(count, len(real.classes)) for count in self.recipe.seen(images)]
        batch = min(last_batch(count, self.recipe.batch_size) for count in seen)
        for name, network in self.students.items():
            with within(f"students.{name}"):
                rehearse(network, **shape, batch=batch)
        with within("recipe"):
            self.recipe.check()

    @property
    def student_seeds(self) -> range:
        """The students' seeds."""
        return range(self.first, self.first + self.seeds)

    @property
    def recipe_key(self) -> str:
        """The ``recipe_key`` column: it tells apart recipes of one name with different settings."""
        # Eight hexadecimal digits are enough for the recipes of a table.
        return key(self.recipe)[:8]

    def columns(self, name: str, experts: int, dtypes: Sequence[str] = ()) -> StudentRow:
        """Return the columns that this protocol decides.

        Args:
            name: The students' architecture, a key of ``students``.
            experts: Number of experts of the set.
            dtypes: Types of the numbers that the networks which distilled it multiplied, as far as known.
        """
        return {
            "fusion": self.fusion.describe_for(experts),
            "recipe": self.recipe.title,
            "recipe_key": self.recipe_key,
            "architecture": name,
            "dtype": "+".join(dict.fromkeys([*dtypes, dtype_of(self.students[name])])),
            # Networks without a choice of width have width 1.
            "width": getattr(self.students[name], "keywords", {}).get("width", 1.0),
        }

    def settings(self, trained_on: Mapping[str, object], test: RealSet, name: str) -> dict[str, object]:
        """Return everything that decides the accuracies of one architecture's students, except their seeds.

        Args:
            trained_on: What decides the images and labels that they see.
            test: What they are tested on.
            name: Their architecture, a key of ``students``. It counts too: a student's random stream depends
                on it, and its learning rate if the recipe has a factor for it.
        """
        return {
            "set": trained_on,
            "test": test.fingerprint,
            "student": name,
            "network": self.students[name],
            "recipe": self.recipe,
            "fusion": self.fusion,
        }

    def keys(self, trained_on: Mapping[str, object], test: RealSet, name: str) -> dict[int, str]:
        """Return the ``config_hash`` of each row of one architecture, by the student's seed.

        Arguments as for :meth:`settings`.
        """
        # Described once for all seeds: describing hashes every setting of the set and the recipe.
        common = identity(self.settings(trained_on, test, name))
        return {seed: key({**common, "seed": seed}) for seed in self.student_seeds}
