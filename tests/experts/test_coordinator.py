"""The diversity term: the gradient each expert receives, when, how large, what is logged, and that it
works."""

import functools
import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest_mixture import dm, idm, mixture, phi, random, term, trainer
from test_mixture import StopAt, same

from moe_distill.data.initialization import random_real
from moe_distill.data.partition.split import Stratified
from moe_distill.data.sources.public_sets import Digits
from moe_distill.diversity.features import FeaturePool
from moe_distill.diversity.measures import DistanceCorrelation
from moe_distill.diversity.unpaired import CosineAllPairs
from moe_distill.experts.callbacks import SaveSets, Threads
from moe_distill.experts.coordinator import DiversityCoordinator
from moe_distill.experts.expert import Expert
from moe_distill.experts.mixture import Mixture
from moe_distill.experts.roster import ExpertSpec, Roster
from moe_distill.experts.shared import SharedResources
from moe_distill.methods.dm import DM
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.pipelines.distill import mean_dependence
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.training.trainer import fit, read_curves

BIASED = DistanceCorrelation(centring="double", transform="none")
ABSOLUTE, SCOPES = (
    {"weight": 0.3, "weight_is": "absolute"},
    [("per_class", "double"), ("class_centred", "double")],
)
DIGITS_NETWORK = functools.partial(ConvNet, depth=2, width=0.25)


def bench(members, diversity, networks=1):
    """Return a mixture and a coordinator in float64, before the first iteration, without a Trainer."""
    together = mixture(members)
    for number, spec in enumerate(members):
        expert = Expert(number, spec, together.parts[number], together.resources)
        expert.start()
        together.experts[str(number)] = expert
        if expert.method.trainable:  # some initial tiles are equal: a distance of 0 has no slope
            expert.synthetic.images.data += 0.1 * torch.randn(
                expert.synthetic.images.shape, generator=stream(number)
            )
    together.double()
    coordinator = DiversityCoordinator(
        diversity, FeaturePool([n.double() for n in phi(networks).networks]), 0
    )
    coordinator.setup(None, together, "fit")
    return together, coordinator


def measured(together, coordinator):
    """Let the coordinator measure once; return the gradients held ready by expert number."""
    coordinator.on_train_batch_start(None, together, None, 0)
    ready = coordinator.pending
    return {e.number: ready[id(e.synthetic.images)] for e in together.mine if id(e.synthetic.images) in ready}


def rows_of(x, ipc, tiles, raw):
    """Return the images a network sees of every class, (classes, rows, C, H, W), cut and enlarged by hand."""
    x = (x - 0.5) / 0.25 if raw else x
    side = 8 // tiles
    corners = [(r * side, s * side) for s in range(tiles) for r in range(tiles)]  # column by column
    classes = []
    for c in range(3):
        cut = [x[c * ipc + i, :, r : r + side, s : s + side] for r, s in corners for i in range(ipc)]
        classes.append(F.interpolate(torch.stack(cut), size=(8, 8), mode="bilinear", align_corners=False))
    return torch.stack(classes)


def naive_dcor2(f, g, centring, l2norm=True):
    """Return dCor² by its definition (Székely et al. 2007; U-centred: Székely and Rizzo 2014)."""

    def centred(x):
        n = len(x)
        if l2norm:
            x = x / x.square().sum(1, keepdim=True).sqrt()
        off = 1 - torch.eye(n, dtype=x.dtype)
        d = ((x[:, None] - x[None]).square().sum(2) + 1 - off).sqrt() * off
        if centring == "double":
            return d - d.mean(0) - d.mean(1)[:, None] + d.mean()
        return (d - d.sum(0) / (n - 2) - d.sum(1)[:, None] / (n - 2) + d.sum() / ((n - 1) * (n - 2))) * off

    a, b = centred(f), centred(g)
    return (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()


def naive_term(f, g, scope, centring):
    """Return the measure of features (classes, rows, D) in one of the three scopes."""
    if scope == "per_class":
        return sum(naive_dcor2(f[c], g[c], centring) for c in range(3)) / 3
    if scope == "class_centred":
        f, g = (torch.stack([x[c] - sum(x[c]) / len(x[c]) for c in range(3)]) for x in (f, g))
    return naive_dcor2(f.flatten(0, 1), g.flatten(0, 1), centring)


def naive(together, network, scope="global", centring="double"):
    """Return gradients, mean measure and mean unbiased dCor² of the full sum over pairs, differentiated as a
    whole."""
    leaves, features = [], []
    for e in together.mine:
        leaves.append(e.synthetic.images.detach().clone().requires_grad_())
        rows = rows_of(leaves[-1], e.spec.ipc, 2 if e.spec.name == "idm" else 1, raw=e.spec.name == "random")
        features.append(torch.stack([network.embed(rows[c]) for c in range(3)]))
    pairs = list(itertools.combinations(features, 2))
    values = [naive_term(f, g, scope, centring) for f, g in pairs]
    unbiased = [naive_dcor2(f.flatten(0, 1), g.flatten(0, 1), "u", l2norm=False) for f, g in pairs]
    gradients = torch.autograd.grad(sum(values), leaves)
    return gradients, *(sum(v).item() / len(v) for v in (values, unbiased))


@pytest.mark.parametrize("scope, centring", [("global", "double"), ("global", "u"), *SCOPES])
def test_every_expert_gets_its_gradient_of_the_full_sum_over_pairs(scope, centring):
    measure = DistanceCorrelation(centring=centring, transform="none")
    together, coordinator = bench(
        [dm(ipc=8), idm(ipc=2), random(ipc=8)], term(measure=measure, scope=scope, **ABSOLUTE)
    )
    gradients, value, unbiased = naive(together, coordinator.pool.networks[0], scope, centring)
    ready = measured(together, coordinator)
    assert sorted(ready) == [0, 1]  # a selection is a constant
    for number, gradient in ready.items():
        assert gradients[number].norm() > 1e-3
        torch.testing.assert_close(gradient, 0.3 * gradients[number], rtol=1e-7, atol=1e-10)
    assert together.extra["diversity/measure"] == pytest.approx(value, rel=1e-9)
    assert together.extra["diversity/dcor2_unbiased"] == pytest.approx(unbiased, rel=1e-7)


def test_a_share_is_the_gradients_direction_at_a_part_of_the_matching_norm():
    together, coordinator = bench([dm(ipc=4), dm(ipc=4)], term(measure=BIASED, weight=0.25))
    assert all(not g.any() for g in measured(together, coordinator).values())
    for expert, norm in zip(together.mine, (3.0, 0.5), strict=True):
        expert.matching_norm = norm
    gradients, _, _ = naive(together, coordinator.pool.networks[0])
    ready = measured(together, coordinator)
    for number, norm in enumerate((3.0, 0.5)):
        expected = gradients[number] * 0.25 * norm / gradients[number].norm()
        torch.testing.assert_close(ready[number], expected, rtol=1e-7, atol=1e-10)
        assert together.extra[f"expert_{number}/extra_over_matching"] == pytest.approx(0.25)


def test_a_gradient_without_a_direction_adds_nothing():
    """However large its share would be: its scale overflows, and infinity times zero is no number."""
    together, coordinator = bench([dm(ipc=4), dm(ipc=4)], term(measure=BIASED, weight=50.0))
    expert = together.mine[0]
    expert.matching_norm = torch.tensor(1e3)
    added = coordinator._gradient(expert, (0.0 * expert.synthetic.images).sum())
    assert torch.equal(added, torch.zeros_like(expert.synthetic.images))


class Spy(DiversityCoordinator):
    """Records every step's matching gradient and what the coordinator added to it."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.steps: dict[tuple[int, int], list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.start: dict[int, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer, mixture, optimizer) -> None:
        (images,) = optimizer.param_groups[0]["params"]
        number = next(e.number for e in mixture.mine if e.synthetic.images is images)
        self.start.setdefault(number, images.detach().clone())
        matching = images.grad.clone()
        super().on_before_optimizer_step(trainer, mixture, optimizer)
        self.steps.setdefault((mixture.iteration, number), []).append((matching, images.grad - matching))


def test_it_is_added_once_an_application_before_the_first_step_and_moves_the_images(run):
    spy = Spy(term(measure=BIASED, every=2), phi(), 0)
    sets = run([idm(), dm()], callbacks=(spy,))
    assert {key: len(steps) for key, steps in spy.steps.items()} == {
        (i, e): (3, 1)[e] for i in range(6) for e in (0, 1)
    }
    for (iteration, number), steps in spy.steps.items():
        first, *later = [float(extra.norm()) for _, extra in steps]
        before = sum(matching for matching, _ in spy.steps.get((iteration - 1, number), ()))
        assert first == (pytest.approx(0.5 * float(before.norm()), rel=1e-3) if iteration in (2, 4) else 0)
        assert not any(later)
    for number, lr in enumerate((0.05, 0.1)):  # SGD by hand
        images, buffer = spy.start[number], 0
        for iteration in range(6):
            for matching, extra in spy.steps[iteration, number]:
                buffer = 0.5 * buffer + matching + extra
                images = images - lr * buffer
        torch.testing.assert_close(sets[number].images.detach(), images, rtol=1e-5, atol=1e-6)


def test_one_pair_at_a_time_and_each_pair_sometimes():
    together, coordinator = bench([dm(), dm(), dm()], term(measure=BIASED, pairs=1, **ABSOLUTE))
    drawn = [tuple(sorted(measured(together, coordinator))) for _ in range(30)]
    assert set(drawn) == {(0, 1), (0, 2), (1, 2)}


@pytest.mark.parametrize("measure, rows", [(BIASED, 2), (CosineAllPairs(), 4)])
def test_unequal_experts_are_subsampled_only_where_rows_are_paired(measure, rows):
    together, coordinator = bench([dm(ipc=2), dm(ipc=4)], term(measure=measure, **ABSOLUTE))
    small, large = (
        gradient.flatten(1).any(1).view(3, -1).sum(1) for gradient in measured(together, coordinator).values()
    )
    assert (small.tolist(), large.tolist()) == ([2] * 3, [rows] * 3)


def test_the_others_move_away_from_a_selection_that_stays(run):
    members = [dm(ipc=4), random(ipc=4)]
    alone, moved = run(members, name="alone"), run(members, term(), name="moved")
    assert same(alone[1:], moved[1:])
    assert not same(alone[:1], moved[:1])


def test_the_curves_show_the_measure_its_unbiased_twin_and_the_share(run, tmp_path: Path):
    run([dm(), idm()], term(every=3))
    rows = read_curves(tmp_path / "run" / "work" / "curves.csv")
    for number in (0, 1):
        shares = {i: value for i, name, value in rows if name == f"expert_{number}/extra_over_matching"}
        assert shares == pytest.approx({1: 0, 2: 0, 3: 0, 4: 0.5, 5: 0.5, 6: 0.5})
    for name in ("diversity/measure", "diversity/dcor2_unbiased"):
        values = [value for _, shown, value in rows if shown == name]
        assert len(values) == 6
        assert values[0] == values[2] != values[3] == values[5]


def test_draws_and_curves_go_on_where_an_interrupted_run_stopped(run, tmp_path: Path):
    members, diversity = [dm(iterations=24, ipc=3)] * 3, term(pairs=1, pairing="shuffled", every=3)
    whole = run(members, diversity, name="whole")
    with pytest.raises(SystemExit):
        run(members, diversity, name="cut", callbacks=(StopAt(12),))
    assert same(whole, run(members, diversity, name="cut"))
    curves = [read_curves(tmp_path / name / "work" / "curves.csv") for name in ("whole", "cut")]
    assert sorted(curves[0]) == sorted(curves[1])


@pytest.fixture(scope="module")
def digits():
    """The digits, and one network trained a little on them."""
    real, _ = Digits().load(Path())
    network = build(DIGITS_NETWORK, channels=1, classes=10, size=8, rng=stream(0, "phi"))
    sgd, rng = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9), stream(0, "phi batches")
    for _ in range(60):
        images, labels = real.batch(64, rng)
        sgd.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        sgd.step()
    return real, network


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_the_term_lowers_the_dependence_of_two_experts_on_digits(digits, seed, tmp_path: Path):
    real, network = digits
    spec = ExpertSpec(functools.partial(DM, 25, 0.5, 0.5, 16, None, random_real), 5)
    relu = term(measure=DistanceCorrelation(centring="u", transform="relu"), every=1, weight=0.5)
    reached = {}
    for name in ("with", "without"):
        (folder := tmp_path / name).mkdir()
        parts = Stratified().split(real, 2, stream(seed, "partition"))
        together = Mixture(
            Roster((spec, spec)), parts, SharedResources(real, DIGITS_NETWORK, torch.optim.SGD, seed)
        )
        callbacks = [Threads(1), SaveSets(folder)]
        callbacks += [DiversityCoordinator(relu, FeaturePool([network]), seed)] if name == "with" else []
        fit(together, trainer(), folder, name, callbacks=callbacks, curves_every=100)
        reached[name] = mean_dependence(SyntheticSet.load(folder), [network])
    assert reached["with"] < reached["without"] - 0.1
