"""A regulariser enters each step of all images, or the first of an iteration of class steps, and nothing
else."""

import functools

import pytest
import pytorch_lightning as pl
import torch
from conftest_mixture import NETWORK, dm, idm, random, real_images, trainer

from moe_distill.data.partition.split import Stratified
from moe_distill.experts.callbacks import SaveSets, Threads
from moe_distill.experts.mixture import Mixture
from moe_distill.experts.roster import ExpertSpec, Roster
from moe_distill.experts.shared import SharedResources
from moe_distill.methods.base import Method
from moe_distill.methods.regularizers.clom import CCLoM, CLoM
from moe_distill.models.base import build
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.training.recipe import Recipe
from moe_distill.training.trainer import fit

POOL = PretrainedNetworks(2, NETWORK, Recipe("t", epochs=1))
LR, MOMENTUM, STEPS, ITERATIONS = 0.1, 0.5, 3, 3


class Whole(Method):
    """Moves all images three times an iteration; the matching gradient is a number that grows from step to
    step."""

    iterations = ITERATIONS

    def prepare(self, context):
        with torch.no_grad():
            context.syn.images.fill_(1.0)

    def iterate(self, context, apply):
        for step in range(STEPS):
            number = float(context.iteration * STEPS + step)
            apply(grads={"images": torch.full_like(context.syn.images, number)})
        return {"loss": torch.zeros(())}

    def parameter_groups(self, syn):
        return [{"params": [syn.images], "lr": LR, "momentum": MOMENTUM}]


class ByClass(Whole):
    """The same where each step is said to be that of a class."""

    moves_by_class = True


class Pull:
    """Half a random number times the squared images: its gradient is that number times the images as they
    are."""

    pools = ()

    def forward_passes(self, decoded, real):
        return 0.0

    def loss(self, syn, real, networks, rng):
        assert len(real) == 90 and list(networks) == []
        return 0.5 * torch.rand((), generator=rng) * syn.images.square().sum()


def by_hand(number, by_class):
    """Return the value that every pixel ends at, by the recursion of the optimiser."""
    rng, x, buffer = stream(0, "regulariser", number), 1.0, 0.0
    for iteration in range(ITERATIONS):
        for step in range(STEPS):
            gradient = float(iteration * STEPS + step)
            if step == 0 or not by_class:
                gradient += float(torch.rand((), generator=rng)) * x
            buffer = MOMENTUM * buffer + gradient
            x -= LR * buffer
    return x


def mixture(members, regulariser, networks=()):
    whole = real_images()
    parts = Stratified().split(whole, len(members), stream(0, "partition"))
    resources = SharedResources(
        whole, NETWORK, torch.optim.SGD, 0, regulariser_networks=networks, regulariser=regulariser
    )
    return Mixture(Roster(tuple(members)), parts, resources)


@pytest.mark.parametrize("kinds", [[Whole], [ByClass], [Whole, ByClass], [ByClass, ByClass]])
def test_the_term_enters_each_step_of_all_images_and_the_first_of_class_steps(kinds, tmp_path):
    made = mixture([ExpertSpec(functools.partial(k), 2) for k in kinds], Pull())
    fit(made, trainer(), tmp_path, "pull")
    for number, kind in enumerate(kinds):
        images = made.experts[str(number)].synthetic.images.detach()
        wanted = by_hand(number, kind is ByClass)
        assert wanted != pytest.approx(by_hand(number, kind is not ByClass), abs=0.01)
        torch.testing.assert_close(images, torch.full_like(images, wanted), rtol=1e-5, atol=1e-6)
        # The diversity term is a share of what the method itself asks for: 6 + 7 + 8 in the last iteration.
        assert made.experts[str(number)].matching_norm == pytest.approx(21 * images.numel() ** 0.5)


class StopAt(pl.Callback):
    """Interrupts a run as a kill would."""

    def __init__(self, iteration):
        self.iteration = iteration

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if module.iteration == self.iteration:
            raise SystemExit("interrupted")


@pytest.fixture
def images(tmp_path):
    """Run dm, idm and a selection with a regulariser; a second call with one name resumes the first."""
    shape = {"channels": 3, "classes": 3, "size": 8}
    pool = [build(NETWORK, **shape, rng=stream(7, i)).eval().requires_grad_(False) for i in range(2)]

    def run(regulariser, name, callbacks=(), iterations=6):
        work, out = (tmp_path / name / kind for kind in ("work", "out"))
        for folder in (work, out):
            folder.mkdir(parents=True, exist_ok=True)
        made = mixture(
            [dm(iterations), idm(iterations), random()], regulariser, [pool] if regulariser else []
        )
        own = [*callbacks, Threads(1), SaveSets(out)]
        fit(made, trainer(), work, name, callbacks=own, checkpoint_seconds=0.0, curves_every=1)
        return torch.stack([m.images.detach() for m in SyntheticSet.load(out).members])

    return run


@pytest.mark.parametrize("kind", [CLoM, CCLoM])
def test_weight_zero_is_no_regulariser_bit_for_bit(images, kind):
    without = images(None, "without")
    assert torch.equal(images(kind([POOL], alpha=0.0), "zero"), without)
    moved = (images(kind([POOL], alpha=10.0), "some") != without).flatten(1).any(1)
    assert moved.tolist() == [True, True, False]  # a selection stays as it is


def test_an_interrupted_run_ends_with_the_same_images(images):
    term = CCLoM([POOL], alpha=10.0, real_batch=20)
    whole = images(term, "whole", iterations=24)
    with pytest.raises(SystemExit):
        images(term, "cut", callbacks=[StopAt(13)], iterations=24)
    assert torch.equal(images(term, "cut", iterations=24), whole)
