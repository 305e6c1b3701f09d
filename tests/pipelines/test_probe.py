"""The linear probe: its rows, its classifier, and what it refuses."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from moe_distill.data.real_set import RealSet
from moe_distill.data.sources.public_sets import Digits
from moe_distill.errors import InputError
from moe_distill.models.base import Network
from moe_distill.pipelines.probe import fitted

ONE = (
    "students=convnet3",
    "seeds=2",
    "split=1x2",
    "method=random",
    "diversity=none",
    "width=0.25",
    "recipe.epochs=20",
)


def test_students_are_probed_by_architecture_and_seed_and_found_again(suite):
    suite(*ONE)
    trained = suite.rows()
    accuracy = suite(*ONE, "pipeline=probe", "pipeline.images_per_class=20")
    with (suite.out / "probe.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["architecture"], r["seed"], r["images_per_class"]) for r in rows] == [
        ("convnet3", s, "20") for s in "01"
    ]
    assert {(r["roster"], r["onto"], r["fusion"]) for r in rows} == {("random1x2", "digits", "cross_expert")}
    of_set = (
        "method",
        "ipc",
        "noe",
        "dataset",
        "diversity",
        "recipe",
        "recipe_key",
        "distill_seed",
        "set_fingerprint",
    )
    assert {tuple(r[c] for c in of_set) for r in rows} == {tuple(r[c] for c in of_set) for r in trained}
    assert accuracy == pytest.approx(sum(float(r["accuracy"]) for r in rows) / 2, abs=1e-12)
    probed, before = ([float(r[c]) for r in rows] for c in ("accuracy", "accuracy_untrained"))
    assert 0.5 < min(probed + before) <= max(probed + before) < 1 and probed != before  # chance is 0.1
    stages = json.loads((suite.out / "stages.json").read_text())
    assert {c["stage"] for c in stages["costs"]} >= {"distill"} and [
        label for label, _ in stages["sets"]
    ] == ["random1x2"]
    assert "data:image/png;base64," in (suite.out / "report.html").read_text()
    before = suite.artifacts("probe")
    assert suite(*ONE, "pipeline=probe", "pipeline.images_per_class=20") == accuracy
    assert len(before) == 1 and suite.artifacts("probe") == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["pipeline.images_per_class=0"], r"pipeline\.images_per_class=0: a whole number of at least 1"),
        (["pipeline.images_per_class=5000"], r"pipeline\.images_per_class=5000: 1 to "),
        (["+data@pipeline.onto=cifar10"], r"pipeline\.onto=cifar10, 32 pixels: 1 × 8²"),
    ],
)
def test_what_cannot_be_probed_is_refused(suite, given, message, monkeypatch):
    suite(*ONE, "pipeline=distill")
    if "onto" in given[0]:
        blank = RealSet(
            torch.zeros(10, 3, 32, 32, dtype=torch.uint8),
            torch.arange(10),
            ("a",) * 10,
            (0.5,) * 3,
            (0.5,) * 3,
            "cifar10",
            "v",
        )
        monkeypatch.setattr("moe_distill.data.sources.public_sets.CIFAR10.load", lambda *_: (blank, blank))
    with pytest.raises(InputError, match=message):
        suite(*ONE, "pipeline=probe", *given)


def test_the_probe_is_a_logistic_regression_on_features_of_unit_variance():
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels * 15).to(torch.uint8).view(-1, 1, 8, 8)
    train, test = (
        RealSet(images[rows], torch.tensor(labels[rows]), tuple("0123456789"), (0.3,), (0.4,), "digits", "v")
        for rows in (slice(0, 300), slice(900, None))
    )
    x, y = ((part.images_NCHW.flatten(1).double() / 255).numpy() for part in (train, test))
    scale = x.std(0) + (x.std(0) == 0)
    judge = LogisticRegression(max_iter=1000).fit((x - x.mean(0)) / scale, labels[:300])
    want = judge.score((y - x.mean(0)) / scale, labels[900:])
    flat = Network(nn.Flatten(), nn.Linear(64, 10))
    assert fitted(flat, train, test) == pytest.approx(want, abs=2e-3) and want > 0.8


def test_other_data_are_normalised_as_the_students_own_were(suite, monkeypatch):
    """The same pixels under other statistics must give the same features."""
    suite(*ONE, "pipeline=distill")
    own = suite(*ONE, "pipeline=probe")
    plain = Digits.load

    def load(self, cache):
        parts = plain(self, cache)
        return parts if self.name == "digits" else tuple(replace(p, mean=(0.9,), std=(0.01,)) for p in parts)

    monkeypatch.setattr(Digits, "load", load)
    assert suite(*ONE, "pipeline=probe", "+data@pipeline.onto=digits", "pipeline.onto.name=elsewhere") == own
