"""A set, scored, and the trainings that it took."""

import contextlib
import csv
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate

from moe_distill.evaluation import students
from moe_distill.training.classifier import Classifier

RATES = (0.001, 0.02)
SET = ("method=dm", "diversity=none", "ipc=2", "noe=2")
SIZES = ("students=convnet3", "width=0.5", "recipe.epochs=5", "recipe.extra_epochs=0", "recipe.batch_size=20")
ASKED = (
    *("pipeline=score", f"pipeline.lrs=[{RATES[0]},{RATES[1]}]", "pipeline.real.epochs=1"),
    *("pipeline.real.batch_size=100", *SIZES),
)


@contextlib.contextmanager
def watching():
    """Give a list that grows by every training: its images, what tested it and how often, and how it was
    done."""
    seen = []

    class Watched(Classifier):
        def __init__(self, networks, pool, test, recipe, streams, fusion, lr):
            super().__init__(networks, pool, test, recipe, streams, fusion, lr)
            images = [x.numpy().tobytes() for x in pool.take(torch.arange(len(pool)))]
            self.about = SimpleNamespace(
                images=images, pool=pool, recipe=recipe, fusion=fusion, lr=lr, tested=[]
            )
            seen.append(self.about)

        def tested(self):
            self.about.tested.append(self.test_set.fingerprint)
            return super().tested()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(students, "Classifier", Watched)
        yield seen


def scored(suite, *given):
    """Run the stage; return its headline, its only row and the trainings it did."""
    with watching() as seen:
        headline = suite(*ASKED, *given)
    with (suite.out / "scores.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return headline, row, seen


def real_data(suite):
    """Return the training and the test images."""
    return instantiate(suite.compose(*SET).plan, _convert_="all").data.load(suite.store / "data")
