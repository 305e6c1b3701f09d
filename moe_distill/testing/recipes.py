"""Conformance tests for recipes."""

import dataclasses
import functools
import json
import math
import pickle
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest

import moe_distill
from moe_distill.store.identity import describe
from moe_distill.training.recipe import Recipe


class RecipeConformance:
    """What every recipe's yaml must satisfy: a recipe of that name, by which students can be trained.

    Attributes:
        recipe: The recipe's word, as in ``recipe=mine``.
        method: Distils the set that students are trained on; for recipes whose labels come from a teacher,
            a method that has one.
        config_dir: The folder of yamls that holds it; None if it is a plug-in's that is installed, or ours.
    """

    recipe: ClassVar[str]
    method: ClassVar[str] = "random"
    config_dir: ClassVar[Path | None] = None

    @pytest.fixture
    def scores(self) -> Any:
        """The results of a small network that was trained by the recipe for an epoch."""
        return _trained(self.recipe, self.method, self.config_dir)

    @pytest.fixture
    def built(self, scores: Any) -> Recipe:
        """The recipe that the yaml makes."""
        recipe: Recipe = scores.protocol.recipe
        return recipe

    def test_rows_call_it_by_its_word(self, built: Recipe) -> None:
        """Settings that other yamls look up by its name, such as a scale's ``student_epochs``, find it."""
        assert built.name == self.recipe

    def test_students_are_trained_by_it(self, scores: Any) -> None:
        """A student ends with a finite accuracy."""
        assert [0 <= row["accuracy_last"] <= 1 for row in scores.rows] == [True]

    @pytest.mark.parametrize("epochs", [1, 10, 300])
    def test_its_learning_rate_stays_finite(self, built: Recipe, epochs: int) -> None:
        """The rate starts above zero and is never negative, however long the training is."""
        recipe = dataclasses.replace(built, epochs=epochs)
        rates = [recipe.lr_at(epoch) for epoch in range(recipe.total_epochs)]
        assert rates[0] > 0 and all(math.isfinite(rate) and rate >= 0 for rate in rates)

    def test_it_has_a_key_and_reaches_other_processes(self, built: Recipe) -> None:
        """Its description is JSON, and a pickled copy has the same one."""
        described = describe(built)
        assert json.loads(json.dumps(described)) == described
        assert describe(pickle.loads(pickle.dumps(built))) == described


@functools.cache
def _trained(recipe: str, method: str, config_dir: Path | None) -> Any:
    """Return the results of a network trained by a recipe; once, as all tests look at the same."""
    known: dict[str, Any] = {} if config_dir is None else {"config_dir": config_dir}
    shown: dict[str, Any] = {"progress": False, "scale": "smoke"}
    train, test = moe_distill.load_dataset("digits")
    with tempfile.TemporaryDirectory() as store:
        synthetic = moe_distill.distill(train, method=method, ipc=2, noe=1, store=store, **shown, **known)
        students: dict[str, Any] = {"students": ["convnet3"], "seeds": 1}
        return moe_distill.evaluate(
            synthetic, test, recipe=recipe, progress=False, **students, options={"recipe.epochs": 1}
        )
