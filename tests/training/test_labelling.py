"""What students are trained towards: a teacher's labels of each batch, stored ones, or classes; RDED's
training."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from moe_distill.data.augmentation.dsa import Augmentation, Flip
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.evaluation.labels import labels_by, with_recipe_labels
from moe_distill.evaluation.training_set import TrainingSet
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.training.batches import tensor_pool, training_batch
from moe_distill.training.classifier import Classifier
from moe_distill.training.cohort import InTurn, Stacked
from moe_distill.training.fusion import Additive
from moe_distill.training.mixing import CrossExpert, CutMix, soft_divergence, tempered
from moe_distill.training.recipe import Recipe
from moe_distill.training.trainer import fit, read_curves

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "rded_kl.npz")
ADAMW = torch.optim.AdamW
RECIPE = Recipe(
    "r", epochs=5, lr=1e-3, weight_decay=0.01, optimizer=ADAMW, batch_size=5, cosine=0.5, decay_biases=False,
    augment=Augmentation((), before=(Flip(),)), cutmix=CutMix(prob=1.0), labels="teacher_online",
    temperature=4.0,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def network(seed, norm="group"):  # a bias under an instance norm has no gradient but rounding
    return build(
        functools.partial(ConvNet, depth=1, width=0.125, norm=norm), channels=1, classes=3, size=8,
        rng=stream(seed, "net"),
    )  # fmt: skip


def teacher():
    """A network whose running statistics are not those it was built with."""
    trained = network(9, "batch")
    with torch.no_grad():
        trained.classifier.weight.mul_(10)
        trained(torch.randn(20, 1, 8, 8, generator=stream(0, "statistics")) + 1)
    return trained.eval().requires_grad_(False)


def pool(temperature=4.0):
    images = torch.randn(12, 1, 8, 8, generator=stream(0, "pool"))
    held = tensor_pool(images, torch.arange(12) % 3, torch.arange(12) % 2, 3)
    return dataclasses.replace(held, label=labels_by(teacher(), temperature))


@pytest.mark.parametrize("temperature", [1, 4, 20])
def test_the_divergence_is_the_published_one(temperature):
    student, wise = (torch.from_numpy(GOLDEN[f"{who}_logits"]) for who in ("student", "teacher"))
    loss = soft_divergence(student, (wise / temperature).softmax(1), temperature)
    assert float(loss) == pytest.approx(float(GOLDEN[f"rded_kl_T{temperature}"]), rel=1e-12)
    by_recipe = dataclasses.replace(RECIPE, temperature=float(temperature)).loss(
        student, (wise / temperature).softmax(1)
    )
    assert torch.equal(by_recipe, loss)


def test_weighted_rows_weigh_and_certain_ones_give_the_cross_entropy():
    rng = stream(0, "rows")
    logits, targets = torch.randn(4, 3, generator=rng), torch.rand(4, 3, generator=rng).softmax(1)
    assert float(soft_divergence(logits, 2 * targets, 5.0)) == pytest.approx(
        2 * float(soft_divergence(logits, targets, 5.0))
    )
    one_hot = torch.eye(3)[[0, 2, 1, 1]]
    want = torch.nn.functional.cross_entropy(logits / 5, torch.tensor([0, 2, 1, 1]))
    assert float(soft_divergence(logits, one_hot, 5.0)) == pytest.approx(float(want))


def test_probabilities_are_tempered_as_their_logits_would_be():
    logits = torch.randn(6, 5, generator=stream(0, "logits")) * 8
    torch.testing.assert_close(tempered(logits.softmax(1), 20.0), (logits / 20).softmax(1), rtol=1e-5, atol=0)
    assert torch.equal(tempered(torch.eye(3), 20.0), torch.eye(3))


@pytest.mark.parametrize("fusion", [None, CrossExpert(), Additive(CrossExpert())])
def test_a_teacher_labels_the_batch_as_the_student_sees_it(fusion):
    rows, plain = torch.tensor([0, 3, 5, 8]), dataclasses.replace(pool(), label=None)
    x, targets = training_batch(pool(), rows, RECIPE, fusion, stream(1, "batch"))
    same_x, mixed = training_batch(plain, rows, RECIPE, fusion, stream(1, "batch"))
    assert torch.equal(x, same_x) and not torch.allclose(targets, mixed, atol=0.05)
    weight = 2 if isinstance(fusion, Additive) else 1
    assert len(x) == 4 * weight
    torch.testing.assert_close(targets, weight * (teacher()(x) / 4).softmax(1), rtol=0, atol=1e-6)


def test_labels_come_without_gradient_and_leave_the_teacher_alone():
    wise, x = teacher(), torch.randn(5, 1, 8, 8, requires_grad=True)
    before = {name: value.clone() for name, value in wise.state_dict().items()}
    assert not labels_by(wise, 4.0)(x).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in wise.state_dict().items())


def test_students_in_turn_and_stacked_follow_adamw_by_hand_towards_the_teacher():
    """Decay on weights of two dimensions and more alone; the loss is that of the formula, at the
    temperature."""
    batches = [
        training_batch(pool(), torch.tensor([0, 4, 8, 2]), RECIPE, None, stream(s, "b")) for s in range(2)
    ]
    hand = [network(s).double() for s in range(2)]
    groups = [
        [
            {"params": [p for p in n.parameters() if p.dim() > 1], "weight_decay": 0.01},
            {"params": [p for p in n.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ]
        for n in hand
    ]
    optimizers = [ADAMW(group, lr=1e-3) for group in groups]
    ways = [way([network(s) for s in range(2)], RECIPE) for way in (InTurn, Stacked)]
    for _ in range(3):
        want = []
        for student, optimizer, (x, _targets) in zip(hand, optimizers, batches, strict=True):
            p = (teacher().double()(x.double()) / 4).softmax(1)
            log_q = (student(x.double()) / 4).log_softmax(1)
            loss = (p * (p.log() - log_q)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            want.append(float(loss.detach()))
        for way in ways:
            got = way.step(batches, [stream(0, "s"), stream(1, "s")])
            assert got.tolist() == pytest.approx(want, rel=1e-3)
    for student in range(2):
        for name, wanted in hand[student].named_parameters():
            for way in ways:
                torch.testing.assert_close(
                    way.weights_of(student)[name].double(), wanted.detach(), rtol=0, atol=2e-5
                )


def test_without_gradient_weights_shrink_and_biases_stay():
    for way, held in ((InTurn, [network(0)]), (Stacked, [network(0), network(1)])):
        students = way(held, RECIPE)
        before = {name: value.clone() for name, value in students.weights_of(0).items()}
        tensors = list(students.weights.values()) if way is Stacked else list(held[0].parameters())
        for tensor in tensors:
            tensor.grad = torch.zeros_like(tensor)
        (students.optimizer if way is Stacked else students.optimizers[0]).step()
        for name, value in students.weights_of(0).items():
            factor = 1 - 1e-3 * 0.01 if before[name].dim() > 1 else 1
            torch.testing.assert_close(value, before[name] * factor, rtol=1e-6, atol=0)


class Killed(Exception):
    """Stands for the end of a process."""


class KillAt(pl.Callback):
    def on_train_batch_end(self, trainer, module, *_):
        if module.iteration == 13:
            raise Killed


def trained(work, *callbacks):
    """Train two students of batch norm towards the teacher for five epochs of three steps."""
    pixels = torch.randint(0, 256, (9, 1, 8, 8), generator=stream(0, "test"), dtype=torch.uint8)
    test = RealSet(pixels, torch.arange(9) % 3, ("a", "b", "c"), (0.5,), (0.25,), "n", "v")
    networks, streams = [network(s, "batch") for s in range(2)], [stream(s, "training") for s in range(2)]
    made = Classifier(networks, pool(), test, RECIPE, streams, CrossExpert())
    work.mkdir(exist_ok=True)
    trainer = functools.partial(
        pl.Trainer, accelerator="cpu", max_epochs=1, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    fit(made, trainer, work, "x", callbacks=callbacks, checkpoint_seconds=0.0, curves_every=1)
    return made


def test_a_killed_training_towards_a_teacher_goes_on_bit_for_bit(tmp_path):
    straight = trained(tmp_path / "straight")
    with pytest.raises(Killed):
        trained(tmp_path / "killed", KillAt())
    assert (tmp_path / "killed/last.ckpt").is_file()
    resumed = trained(tmp_path / "killed")
    assert resumed.accuracies == straight.accuracies and read_curves(
        tmp_path / "killed/curves.csv"
    ) == read_curves(tmp_path / "straight/curves.csv")
    for student in range(2):
        for name, want in straight.cohort.weights_of(student).items():
            assert torch.equal(resumed.cohort.weights_of(student)[name], want), name


def test_a_training_that_asks_for_a_teacher_without_one_is_refused():
    bare = dataclasses.replace(pool(), label=None)
    with pytest.raises(InputError, match=r"labels=teacher_online: set or hard: no teacher is available"):
        Classifier([network(0)], bare, None, RECIPE, [stream(0, "t")])


def training_set(targets):
    images = torch.zeros(3, 1, 8, 8)
    held = tensor_pool(images, torch.arange(3), torch.zeros(3, dtype=torch.int64), 3, targets)
    return TrainingSet(held, None, 8, None, {"set": "x"}, {}, {})


def test_labels_of_a_set_are_taken_as_they_are_tempered_or_left_aside():
    soft, recipe = torch.rand(3, 3, generator=stream(0, "soft")).softmax(1), Recipe("r", epochs=1)
    as_held = with_recipe_labels(training_set(soft), None, recipe, None)
    assert as_held.pool.targets_MC is soft and as_held.settings == {"set": "x"}
    hard = with_recipe_labels(
        training_set(soft), None, dataclasses.replace(recipe, labels="hard", temperature=20.0), None
    )
    assert hard.pool.targets_MC is None and hard.settings == {"set": "x"}
    cool = with_recipe_labels(training_set(soft), None, dataclasses.replace(recipe, temperature=20.0), None)
    torch.testing.assert_close(cool.pool.targets_MC, (soft.log() / 20).softmax(1))
    with pytest.raises(InputError, match=r"labels=set: hard or teacher_online, or a set with soft labels"):
        with_recipe_labels(training_set(None), None, dataclasses.replace(recipe, temperature=20.0), None)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"labels": "soft"}, "labels=soft: set or hard or teacher_online"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"lr_factors": {"vgg11": -1.0}}, "lr_factors.vgg11=-1.0"),
    ],
)
def test_settings_of_a_recipe_are_checked(setting, line):
    with pytest.raises(InputError, match=line):
        dataclasses.replace(RECIPE, **setting)


def test_a_temperature_does_nothing_to_hard_labels():
    assert dataclasses.replace(RECIPE, labels="hard").temperature == 1
