"""What methods match under perturbed networks, and with real batches that are chosen."""

import dataclasses
import functools

import pytest
import torch
from conftest_methods import Stepper
from conftest_trajectories import begin, mtt, run
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from test_dm_idm import naive_features

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.initialization import random_real
from moe_distill.data.selection import representatives
from moe_distill.experts.expert import Expert
from moe_distill.experts.rotation import Rotation
from moe_distill.methods.dm import DM
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.real_batches import ChosenBatches, RepresentativeSampling
from moe_distill.testing.stand_ins import distilled, images, noise_set, resources

pytestmark = pytest.mark.usefixtures("one_thread")
LARGE = Perturbation(0.3, 0.5)


@pytest.fixture(scope="module")
def spec_of():
    """Gives a method's expert as a run at smoke scale would build it, with settings of the method."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):

        @functools.cache
        def spec(method, **settings):
            usual = ["scale=smoke", "data=digits", "ipc=2", "noe=1", "paths.output=/nowhere"]
            (member,) = instantiate(compose("config", [f"method={method}", *usual]).plan).roster.members
            return dataclasses.replace(member, method=functools.partial(member.method, **settings))

        yield spec


def dm(**changes):
    settings = {"iterations": 3, "lr": 1.0, "momentum": 0.5, "real_batch": 6, "augment": None}
    return DM(**{**settings, "init": random_real, **changes})


def started(round_of, **options):
    method = dm()
    context = dataclasses.replace(round_of(method, ipc=2), **options)
    method.prepare(context)
    return method, context


def test_dm_matches_under_a_perturbed_network_with_all_else_equal(round_of):
    """Against naive float64: the same network and batches as without, and other weights."""
    method, context = started(round_of, perturbation=LARGE, options_rng=stream(0, "options"))
    replay, options = context.rng.clone_state(), stream(0, "options")
    apply = Stepper(context.syn, lr=1.0)
    start = context.syn.images.detach().clone().requires_grad_()
    method.iterate(context, apply)
    network = context.new_network(replay)
    weights = dict(network.named_parameters())
    r = (0.3 + 0.2 * torch.rand(2, generator=options, dtype=torch.float64)).norm()
    with torch.no_grad():
        for weight in weights.values():
            if weight.dim() >= 2:
                step = torch.randn(weight.shape, generator=options).double()
                for row, along in zip(weight, step, strict=True):
                    row += r * row.norm() / along.norm() * along
    loss = 0
    for c in range(3):
        real = context.real.class_batch(c, 6, replay)
        difference = naive_features(network, real).mean(0) - naive_features(
            network, start[2 * c : 2 * c + 2]
        ).mean(0)
        loss = loss + (difference**2).sum()
    torch.testing.assert_close(apply.gradients[0], torch.autograd.grad(loss, start)[0], rtol=1e-8, atol=1e-10)


def test_dm_matches_the_chosen_batches(round_of):
    chosen = ChosenBatches(RepresentativeSampling(interval=2))
    method, context = started(round_of, chosen=chosen, options_rng=stream(0, "options"))
    replay, options = context.rng.clone_state(), stream(0, "options")
    apply = Stepper(context.syn, lr=0.0)
    losses = [method.iterate(context, apply)["loss"] for _ in range(2)]
    # Random batches are not drawn: the stream yields the networks alone.
    networks = [context.new_network(replay) for _ in range(2)]
    expected = [0.0, 0.0]
    for c in range(3):
        rows = context.real.class_indices(c)
        f_ND = naive_features(networks[0], context.real.at(rows)[0])
        batch = context.real.at(rows[representatives(f_ND, 6, options)])[0]
        for place, network in enumerate(networks):
            means = [naive_features(network, x).mean(0) for x in (batch, context.syn.of_class(c))]
            expected[place] += (means[0] - means[1]).square().sum().item()
    assert [float(loss) for loss in losses] == pytest.approx(expected, rel=1e-9)


def test_idm_perturbs_no_network_of_its_queue(spec_of):
    """The queue after three iterations is that of a run without, bit for bit; the images are others."""
    real = noise_set(3, 12)
    plain, moved = (distilled(spec_of("idm"), real, perturbation=p)[0] for p in (None, LARGE))
    assert not torch.equal(images(plain), images(moved))
    entries = [the_expert.method.state_dict()["queue"]["entries"] for the_expert in (plain, moved)]
    for ours, theirs in zip(*entries, strict=True):
        assert all(torch.equal(ours[0][name], theirs[0][name]) for name in theirs[0])
        assert ours[2:] == theirs[2:]


@pytest.mark.parametrize("method", ["tgdd", "ncfm"])
def test_no_recorded_network_that_classifies_is_perturbed(spec_of, method):
    """At a rate that moves nothing, the classification of the images stays, and the matching does not."""
    spec = spec_of(method, lr=1e-12)
    plain, moved = (distilled(spec, noise_set(3, 12), perturbation=p)[0] for p in (None, LARGE))
    assert moved.last_scalars["ce"] == pytest.approx(plain.last_scalars["ce"], rel=1e-5)
    assert moved.last_scalars["loss"] != pytest.approx(plain.last_scalars["loss"], rel=1e-3)


# In three iterations; at this scale IDC renews its network in every second one.
@pytest.mark.parametrize(
    ("method", "copies"), [("dm", 3), ("dc", 3), ("dsa", 3), ("idm", 3), ("idc", 2), ("tgdd", 3), ("ncfm", 3)]
)
def test_networks_are_perturbed_each_time_one_is_drawn(spec_of, monkeypatch, method, copies):
    made = []

    def copy_of(self, network, rng):
        made.append(plain(self, network, rng))
        return made[-1]

    plain = Perturbation.copy_of
    monkeypatch.setattr(Perturbation, "copy_of", copy_of)
    distilled(spec_of(method), noise_set(3, 12), perturbation=LARGE)
    assert len(made) == copies


@pytest.mark.parametrize(("method", "batches"), [("dm", 3), ("idm", 3), ("tgdd", 3), ("idc", 3), ("dc", 6)])
def test_batches_are_chosen_by_what_they_are_matched_under(spec_of, monkeypatch, method, batches):
    networks = {"perturbed": [], "chosen by": []}

    def copy_of(self, network, rng):
        networks["perturbed"].append(perturb(self, network, rng))
        return networks["perturbed"][-1]

    def rows(self, real, c, n, network, rng):
        networks["chosen by"].append(network)
        return choose(self, real, c, n, network, rng)

    perturb, choose = Perturbation.copy_of, ChosenBatches.rows
    monkeypatch.setattr(Perturbation, "copy_of", copy_of)
    monkeypatch.setattr(ChosenBatches, "rows", rows)
    settings = {"outer": 2} if method == "dc" else {}
    spec = spec_of(method, **settings)
    sampling = RepresentativeSampling(1)
    the_expert, _ = distilled(spec, noise_set(3, 12), perturbation=LARGE, real_sampling=sampling)
    assert len(networks["chosen by"]) == 3 * batches == 3 * 3 * the_expert.method.class_batches
    assert {*map(id, networks["chosen by"])} == {*map(id, networks["perturbed"])}


def test_a_trajectory_starts_beside_the_teachers_and_counts_as_much_as_it(round_of):
    seen = []

    def gradients(problem):
        # Now, as the images move before it returns.
        seen.append((problem, plain.adjoint(dataclasses.replace(problem, unperturbed_P=None)).loss))
        return plain.adjoint(problem)

    plain, method = mtt(), mtt(adjoint=gradients)
    made = begin(round_of, method)
    made.context = dataclasses.replace(
        made.context, perturbation=Perturbation(), options_rng=stream(0, "options")
    )
    (scalars,) = run(method, made, 1)
    ((problem, loss),) = seen
    ((teacher, epoch), _) = made.context.trajectories.asked
    start, target = (made.context.trajectories.weights[teacher][e] for e in (epoch, epoch + 2))
    way = (target - start).norm()
    assert torch.equal(problem.target_P, target) and torch.equal(problem.unperturbed_P, start)
    assert 0 < (problem.start_P - start).norm() <= 0.3 * way * (1 + 1e-9)
    far = (problem.start_P - target).square().sum()
    assert float(scalars["loss"]) == pytest.approx(float(loss * far / way.square()), rel=1e-9)


def test_options_draw_anew_in_each_iteration_turn_and_expert(spec_of):
    real, networks = noise_set(3, 12), [functools.partial(ConvNet, depth=d, width=0.25) for d in (1, 2)]
    spec = dataclasses.replace(spec_of("dm"), rotation=Rotation(tuple(networks), "norm"))
    shared = resources(real, networks=networks)
    drawn = [
        torch.rand(2, generator=Expert(number, spec, torch.arange(60), shared).context(iteration).options_rng)
        for number in range(2)
        for iteration in (0, 1, 2, 3, 3)
    ]
    assert torch.equal(drawn[3], drawn[4]) and len({tuple(one.tolist()) for one in drawn}) == 8


def test_the_method_draws_what_it_draws_without(spec_of):
    plain, moved = (distilled(spec_of("dm"), noise_set(3, 12), perturbation=p)[0] for p in (None, LARGE))
    assert torch.equal(plain.rng.get_state(), moved.rng.get_state())
