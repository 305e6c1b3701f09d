"""Students trained through Lightning: their independence, their accuracy, and their resume, bit for bit."""

import dataclasses
import functools
import math

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score
from torch import nn

from moe_distill.config.folders import conf_dir
from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop
from moe_distill.data.real_set import RealSet
from moe_distill.models.base import Network, build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.training.batches import TrainingPool, tensor_pool
from moe_distill.training.classifier import Classifier
from moe_distill.training.fusion import Offline
from moe_distill.training.mixing import CrossExpert, CutMix
from moe_distill.training.recipe import Recipe
from moe_distill.training.trainer import fit, read_curves

CONVNET = functools.partial(ConvNet, depth=1, width=0.125, norm="instance")
# 10 images in batches of 4: three steps an epoch, 24 in all
RECIPE = Recipe(
    "r",
    epochs=7,
    extra_epochs=1,
    lr=0.02,
    batch_size=4,
    drops=(0.5,),
    drop_offset=2,
    fresh_optimizer=True,
    augment=Augmentation((Color(), Crop())),
    cutmix=CutMix(),
    test_points=(0.5,),
)


class Dropping(Network):
    """A network whose every step draws from the global generator."""

    def __init__(self, channels, classes, size):
        body = nn.Sequential(nn.Conv2d(channels, 32, 3), nn.BatchNorm2d(32), nn.Flatten(), nn.Dropout(0.5))
        super().__init__(body, nn.Linear(32 * (size - 2) ** 2, classes))


pytestmark = pytest.mark.usefixtures("one_thread")


def real(count=50):
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=stream(0, "test"), dtype=torch.uint8)
    return RealSet(pixels, torch.arange(count) % 3, ("a", "b", "c"), (0.5,), (0.25,), "n", "v")


def pool(count=10):
    images = torch.randn(count, 1, 8, 8, generator=stream(0, "pool"))
    return tensor_pool(images, torch.arange(count) // 2 % 3, torch.arange(count) % 2, 3)


def students(seeds, factory=CONVNET, recipe=RECIPE, fusion=None, test=None, **more):
    networks = [build(factory, channels=1, classes=3, size=8, rng=stream(s, "student")) for s in seeds]
    streams = [stream(s, "training") for s in seeds]
    return Classifier(networks, pool(), test or real(), recipe, streams, fusion or CrossExpert(), **more)


def trainer():
    node = OmegaConf.load(f"{conf_dir()}/trainer/auto.yaml")
    return instantiate(OmegaConf.merge(node, {"accelerator": "cpu"}))


def run(classifier, work, callbacks=(), checkpoint_seconds=0.0):
    work.mkdir(exist_ok=True)
    fit(
        classifier,
        trainer(),
        work,
        "x",
        callbacks=callbacks,
        checkpoint_seconds=checkpoint_seconds,
        curves_every=1,
    )
    return classifier


class Killed(Exception):
    """Stands for the end of a process."""


class KillAt(pl.Callback):
    def __init__(self, iteration):
        self.iteration = iteration

    def on_train_batch_end(self, trainer, module, *_):
        if module.iteration == self.iteration:
            raise Killed


def assert_same_student(one, i, other, j):
    for name, want in one.cohort.weights_of(i).items():
        assert torch.equal(other.cohort.weights_of(j)[name], want), name
    assert torch.equal(one.streams[i].get_state(), other.streams[j].get_state())
    assert {e: a[i] for e, a in one.accuracies.items()} == {e: a[j] for e, a in other.accuracies.items()}


@pytest.mark.parametrize("factory", [CONVNET, Dropping])
def test_a_student_is_the_same_alone_and_in_company(tmp_path, factory):
    together = run(students([0, 1, 2], factory), tmp_path / "all")
    alone = run(students([1], factory), tmp_path / "one")
    assert_same_student(alone, 0, together, 1)
    curves = {(i, v) for i, name, v in read_curves(tmp_path / "all/curves.csv") if name == "student_1/loss"}
    assert curves == {(i, v) for i, _, v in read_curves(tmp_path / "one/curves.csv")}
    weights = [together.cohort.weights_of(i)["classifier.weight"] for i in range(3)]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("factory", [CONVNET, Dropping])
def test_a_student_is_the_same_whatever_ran_before_in_the_process(tmp_path, factory):
    first = run(students([1], factory), tmp_path / "first")
    torch.manual_seed(99)
    torch.rand(1000)
    run(students([2, 0], factory, recipe=Recipe("r", epochs=2, batch_size=3)), tmp_path / "others")
    assert_same_student(first, 0, run(students([1], factory), tmp_path / "again"), 0)
    assert_same_student(first, 0, run(students([2, 1], factory), tmp_path / "missing"), 1)


@pytest.mark.parametrize("factory", [CONVNET, Dropping])
def test_a_killed_training_goes_on_bit_for_bit(tmp_path, factory):
    straight = run(students([0, 1], factory), tmp_path / "straight")
    with pytest.raises(Killed):  # in the middle of the fifth epoch, after the checkpoint of iteration 10
        run(students([0, 1], factory), tmp_path / "killed", [KillAt(14)])
    torch.manual_seed(12345)
    resumed = run(students([0, 1], factory), tmp_path / "killed")
    for i in range(2):
        assert_same_student(straight, i, resumed, i)
    assert (resumed.iteration, resumed.images_seen) == (24, straight.images_seen) == (24, 2 * 8 * 10)
    assert read_curves(tmp_path / "killed/curves.csv") == read_curves(tmp_path / "straight/curves.csv")


def test_a_training_killed_after_its_last_step_only_ends(tmp_path):
    recipe = Recipe("r", epochs=10, batch_size=5)  # 20 steps: a checkpoint after the last
    first = run(students([0], recipe=recipe), tmp_path)
    (tmp_path / "cost.json").unlink()
    again = run(students([0], recipe=recipe), tmp_path)
    assert_same_student(first, 0, again, 0)
    assert again.images_seen == 100 and (tmp_path / "cost.json").is_file()


def test_accuracy_is_that_of_scikit_learn(monkeypatch):
    monkeypatch.setattr("moe_distill.training.classifier._TEST_CHUNK", 16)  # chunks that do not divide 50
    test = real()
    classifier = students([0, 1, 2], test=test)
    x = test.normalised(test.images_NCHW)
    guesses = [network(x).argmax(1).numpy() for network in classifier.networks]
    want = [accuracy_score(test.labels_N.numpy(), guess) for guess in guesses]
    assert classifier.tested() == pytest.approx(want, abs=1e-7)
    assert len(set(want)) > 1 and min(want) > 0


def test_tests_run_at_the_published_points_and_leave_the_training_as_it_was(tmp_path):
    looked_at = run(students([0]), tmp_path / "a")
    assert list(looked_at.accuracies) == [2, 7]
    last = Recipe(**{**vars(RECIPE), "test_points": ()})
    unseen = run(students([0], recipe=last), tmp_path / "b")
    assert list(unseen.accuracies) == [7] and unseen.accuracies[7] == looked_at.accuracies[7]
    assert torch.equal(*(c.cohort.weights_of(0)["classifier.weight"] for c in (looked_at, unseen)))


def watched(classifier):
    """Let a classifier tell the rows and the rate of every step."""
    seen, inner = [], classifier.pool

    def take(rows):
        rate = classifier.cohort.optimizers[0].param_groups[0]["lr"]
        seen.append((rows.tolist(), rate))
        return inner.take(rows)

    shown = TrainingPool(take, inner.labels_M, inner.experts_M, inner.classes)
    classifier.stages = tuple(dataclasses.replace(stage, pool=shown) for stage in classifier.stages)
    return seen


@pytest.mark.parametrize(("lr", "rates"), [(None, (0.02, 0.002)), (0.5, (0.5, 0.05))])
def test_every_epoch_is_a_fresh_order_of_the_whole_pool_at_its_rate(tmp_path, lr, rates):
    recipe = Recipe(**{**vars(RECIPE), "augment": None, "cutmix": None})
    classifier = students([0], recipe=recipe, fusion=CrossExpert(alpha=0), lr=lr)
    seen = watched(classifier)
    run(classifier, tmp_path)
    assert [len(rows) for rows, _ in seen] == [4, 4, 2] * 8
    epochs = [[row for rows, _ in seen[i : i + 3] for row in rows] for i in range(0, 24, 3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 8
    # int(7 * 0.5) + 2 = 5 epochs at the first rate
    assert [rate for _, rate in seen] == pytest.approx([rates[0]] * 15 + [rates[1]] * 9, rel=1e-12)


def test_the_rate_follows_a_cosine_epoch_by_epoch(tmp_path):
    recipe = Recipe("r", epochs=4, lr=0.02, batch_size=5, cosine=1.0)
    classifier = students([0], recipe=recipe, fusion=CrossExpert(alpha=0))
    seen = watched(classifier)
    run(classifier, tmp_path)
    half = 0.5**0.5
    want = [0.02 * share for share in (1, (1 + half) / 2, 0.5, (1 - half) / 2) for _ in range(2)]
    assert [rate for _, rate in seen] == pytest.approx(want, rel=1e-12)


def test_a_set_fused_for_good_is_half_as_long(tmp_path):
    classifier = run(students([0, 1], fusion=Offline()), tmp_path)
    # two, two and one pairs of the 4, 4 and 2 images of the classes; batches of 4
    assert (len(classifier.pool), classifier.total, classifier.images_seen) == (5, 16, 2 * 8 * 5)


def test_training_learns_what_can_be_learned(tmp_path):
    pixels = torch.zeros(30, 1, 8, 8, dtype=torch.uint8)
    for i in range(30):
        pixels[i, 0, :, 2 * (i % 3) : 2 * (i % 3) + 2] = 200 + i
    bars = RealSet(pixels, torch.arange(30) % 3, ("a", "b", "c"), (0.2,), (0.4,), "n", "v")
    images = bars.normalised(pixels[:6])
    train = tensor_pool(images, torch.arange(6) % 3, torch.zeros(6, dtype=torch.int64), 3)
    recipe = Recipe("r", epochs=15, lr=0.05, batch_size=6)
    network = build(CONVNET, channels=1, classes=3, size=8, rng=stream(0, "s"))
    classifier = run(Classifier([network], train, bars, recipe, [stream(0, "t")]), tmp_path)
    assert classifier.accuracies == {14: [1.0]}


def test_a_student_that_diverged_has_no_accuracy():
    """It would be right about all images of the first class otherwise."""
    classifier = students((0, 1))
    with torch.no_grad():
        next(classifier.students[0].parameters()).fill_(math.nan)
    lost, kept = classifier.tested()
    assert math.isnan(lost) and 0 <= kept <= 1
