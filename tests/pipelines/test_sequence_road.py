"""Experts made one after another on the whole road: what each knows of those before it, and what is kept."""

import dataclasses
import functools

import pytest
import torch
from conftest_pretraining import IMAGES, NETWORK, POOL, SGD, Data, follower, plan
from torch import nn

from moe_distill.context.hardware import Hardware
from moe_distill.context.run_context import Runtime
from moe_distill.data.initialization import random_real
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.training_set import training_set_of
from moe_distill.experts.expert import Expert
from moe_distill.experts.filling import Presets
from moe_distill.experts.loading import warm_settings, warm_weights
from moe_distill.experts.roster import ExpertSpec, Roster, sequence
from moe_distill.experts.sequence import WARM, Conditioning, WarmStart
from moe_distill.experts.strategy import ExpertParallelStrategy
from moe_distill.methods.base import Method
from moe_distill.methods.coreset import Random
from moe_distill.methods.dm import DM
from moe_distill.models.base import Network
from moe_distill.pipelines.distill import Distill, distill
from moe_distill.pipelines.full import Full, set_stages
from moe_distill.pipelines.pretrain import Pretrain
from moe_distill.pipelines.stage import make_all
from moe_distill.results.known_rows import FinishedRows
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.sweeps.forecast import missing
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.testing.stand_ins import OWNER, noise_set, resources
from moe_distill.tracking.wandb_tracker import NoTracker
from moe_distill.training.classifier import Classifier
from moe_distill.training.mixing import NoFusion
from moe_distill.training.trainer import fit

WARM_START = WarmStart(2, dataclasses.replace(SGD, epochs=2))
BOTH, NOTHING = Conditioning(True, WARM_START), Conditioning(False, None)
UNION = Conditioning(True, None)


def dm(lr=0.5, ipc=2, iterations=3):
    builder = functools.partial(
        DM, iterations=iterations, lr=lr, momentum=0.5, real_batch=6, augment=None, init=random_real
    )
    return ExpertSpec(builder, ipc)


def sequence_of(*members, knows=BOTH, **changes):
    return dataclasses.replace(plan(*members, **changes), roster=Roster(members, knows))


def made(given, runtime):
    make_all(set_stages(given, runtime.results), runtime)
    return SyntheticSet.load(given.find(runtime.store, given.data.load(None)[0])).members


def images(member):
    return member.images.detach()


def test_a_sequence_of_one_is_the_plain_expert():
    alone, plain = sequence_of(dm()), plan(dm())
    real, _ = Data().load(None)
    assert key(alone.settings(real, None)) == key(plain.settings(real, None))
    assert alone.before is None and [*alone.numbers] == [0] and str(alone.roster) == "dm2x1"


def test_the_first_expert_is_that_of_the_plain_run_and_stays_as_it_was(runtime):
    (alone,) = made(plan(dm()), runtime)
    first, second = made(sequence_of(dm(), dm()), runtime)
    assert (
        torch.equal(images(first), images(alone))
        and first.tensors_fingerprint() == alone.tensors_fingerprint()
    )
    assert not torch.equal(images(second), images(first))
    assert [m.provenance.expert for m in (first, second)] == [0, 1]
    three = made(sequence_of(dm(), dm(), dm()), runtime)
    assert [m.tensors_fingerprint() for m in three[:2]] == [m.tensors_fingerprint() for m in (first, second)]


def test_without_knowledge_it_is_the_plain_expert_of_its_number_on_all_images(runtime):
    _, second = made(sequence_of(dm(), dm(), knows=NOTHING), runtime)
    real, _ = Data().load(None)
    expert = Expert(1, dm(), torch.arange(IMAGES), dataclasses.replace(plain_resources(real), seed=0))
    expert.start()
    optimizer = expert.configure_optimizers()
    for iteration in range(3):
        expert.iterate(iteration, optimizer, OWNER)
    torch.testing.assert_close(images(second), expert.synthetic.images.detach(), rtol=0, atol=1e-6)


def plain_resources(real):
    optimizer = functools.partial(torch.optim.SGD, lr=0.1)
    return dataclasses.replace(resources(real), network=NETWORK, optimizer=optimizer)


@pytest.mark.parametrize("knows", [UNION, Conditioning(False, WARM_START)], ids=["union", "warm"])
def test_each_kind_of_knowledge_changes_the_second_expert_alone(runtime, knows):
    blind, knowing = (made(sequence_of(dm(), dm(), knows=k), runtime) for k in (NOTHING, knows))
    assert torch.equal(images(blind[0]), images(knowing[0]))
    assert not torch.equal(images(blind[1]), images(knowing[1]))


class Mean(nn.Module):
    """A body whose features are the pixels themselves."""

    def forward(self, x_NCHW):
        return x_NCHW.flatten(1)


@pytest.mark.parametrize("earlier_ipc", [1, 4])
def test_under_the_union_own_images_make_up_for_the_residual_of_earlier_ones(earlier_ipc):
    """Own mean → m + n_p/n_k (m − s_p), the only mean with which the union has the real mean m."""
    real = noise_set(1, 8)

    def pixels(channels, classes, size):
        return Network(Mean(), nn.Linear(channels * size**2, classes))

    everything = dataclasses.replace(resources(real), network=pixels, optimizer=torch.optim.SGD)
    earlier = Expert(0, dm(ipc=earlier_ipc), torch.arange(60), everything)
    earlier.start()
    knowing = dataclasses.replace(everything, earlier=[earlier.synthetic.requires_grad_(False)], union=True)
    spec = ExpertSpec(
        functools.partial(
            DM, iterations=400, lr=0.2, momentum=0.0, real_batch=60, augment=None, init=random_real
        ),
        1,
    )
    expert = Expert(1, spec, torch.arange(60), knowing)
    expert.start()
    optimizer = expert.configure_optimizers()
    for iteration in range(400):
        expert.iterate(iteration, optimizer, OWNER)
    for c in range(3):
        x = real.normalised(real.images_NCHW)[real.labels_N == c].double().mean(0)
        before = earlier.synthetic.of_class(c).detach().double().mean(0)
        expected = x + earlier_ipc * (x - before)
        torch.testing.assert_close(
            expert.synthetic.of_class(c).detach().double()[0], expected, rtol=0, atol=1e-3
        )


def test_an_image_moves_as_far_as_without_the_others():
    """At equal residuals: the gradient of the mean over all is brought back to that over the own images."""
    real = noise_set(1, 8)
    alone = Expert(0, dm(iterations=1), torch.arange(60), resources(real))
    alone.start()
    twin = dataclasses.replace(resources(real), earlier=[alone.synthetic], union=True)
    # The same images twice have the same mean, and so the same residual.
    doubled = Expert(0, dm(iterations=1), torch.arange(60), twin)
    doubled.start()
    assert torch.equal(alone.synthetic.requires_grad_(False).images, doubled.synthetic.images)
    single = Expert(0, dm(iterations=1), torch.arange(60), resources(real))
    single.start()
    for expert in (single, doubled):
        expert.iterate(0, expert.configure_optimizers(), OWNER)
    torch.testing.assert_close(single.synthetic.images, doubled.synthetic.images, rtol=1e-5, atol=1e-6)


def test_an_interrupted_expert_of_a_sequence_goes_on_bit_for_bit():
    real = noise_set(1, 8)
    first = Expert(0, dm(), torch.arange(60), resources(real))
    first.start()
    warm = [first.new_network(0, stream(0, "warm", index)).state_dict() for index in range(2)]
    earlier = [first.synthetic.requires_grad_(False)]
    knowing = dataclasses.replace(resources(real), earlier=earlier, union=True, warm=warm)
    whole, killed, resumed = (Expert(1, dm(), torch.arange(60), knowing) for _ in range(3))
    optimizers = []
    for expert, last in ((whole, 3), (killed, 1)):
        expert.start()
        optimizers.append(expert.configure_optimizers())
        for iteration in range(last):
            expert.iterate(iteration, optimizers[-1], OWNER)
    resumed.take_state(killed.state())
    optimizer = resumed.configure_optimizers()
    optimizer.load_state_dict(optimizers[-1].state_dict())
    for iteration in range(1, 3):
        resumed.iterate(iteration, optimizer, OWNER)
    assert torch.equal(images(resumed.synthetic), images(whole.synthetic))
    assert not torch.equal(images(killed.synthetic), images(whole.synthetic))


def test_warm_networks_go_through_the_images_of_one_expert_and_then_of_two(runtime, tmp_path):
    given = sequence_of(dm(), dm(), dm())
    made(given, runtime)
    real, test = given.data.load(None)
    start = WARM_START.blank(NETWORK, 1, channels=1, classes=3, size=8)
    assert given.before is not None
    first = warm_weights(given.before, real, runtime.store, 1)
    second = warm_weights(given, real, runtime.store, 1)
    for number, (before, after) in enumerate(((given.before.before, first), (given.before, second)), 1):
        images_of = training_set_of(before, runtime)
        rng = stream(0, WARM, 1, "training", number)
        classifier = Classifier([start], images_of.pool, test, WARM_START.recipe, [rng])
        (work := tmp_path / f"by hand {number}").mkdir()
        fit(classifier, runtime.trainer, work, "by hand")
        weights = classifier.cohort.weights_of(0)
        assert all(torch.equal(weights[name], after[name]) for name in after)


def test_teachers_start_from_warm_networks_in_turn(runtime):
    given = sequence_of(follower(), follower(), knows=Conditioning(False, WARM_START))
    made(given, runtime)
    real, _ = given.data.load(None)
    settings = [warm_settings(given, real, runtime.store.root / "data", i) for i in range(2)]
    pools = {
        n: dataclasses.replace(p, starts=tuple(settings)) for n, p in given.trajectory_pools(real).items()
    }
    trajectories = pools[1].load(runtime.store, real, NETWORK)
    names = [
        name for name, _ in WARM_START.blank(NETWORK, 0, channels=1, classes=3, size=8).named_parameters()
    ]
    for index in range(POOL.networks):
        weights = warm_weights(given, real, runtime.store, index % 2)
        assert torch.equal(trajectories.snapshot(index, 0), torch.cat([weights[n].flatten() for n in names]))
    fresh = plan(follower()).trajectory_pools(real)[0]
    keys = {key(p.settings(real, NETWORK, 0)) for p in (pools[1], fresh)}
    assert len(keys) == 2


def test_another_setting_of_the_second_keeps_what_was_made_for_the_first(runtime):
    made(sequence_of(dm(), dm()), runtime)
    results = FinishedRows(runtime.store, None)
    changed = sequence_of(dm(), dm(lr=0.25))
    owed = [m.name for stage in set_stages(changed, results) for m in stage.missing(results)]
    assert owed == ["distill dm2-lr0.5+dm2-lr0.25-sequence"]


def test_a_forecast_names_what_is_made_and_everything_is_made_once(runtime):
    given = sequence_of(dm(), dm())
    run = Full({"it": given}, {}, EvaluationProtocol({"small": NETWORK}, SGD, NoFusion(), 1))
    names = [m.name for m in missing(run, runtime.results)]
    assert names == [
        *("distill dm2x1", "warm networks", "warm networks"),
        *("distill dm2x2-sequence", "students dm2x2-sequence"),
    ]
    rows = run.run(runtime)["rows"]
    assert not missing(run, runtime.results)
    (row,) = rows
    assert (row["roster"], row["noe"], row["partition"], row["diversity"]) == (
        "dm2x2-sequence",
        2,
        "none",
        "none",
    )
    assert given.before is not None
    costs = [training_set_of(p, runtime).cost["seconds"] for p in (given.before, given)]
    assert row["distill_seconds"] == costs[1] > costs[0]
    # The first expert waits for nothing, the second for both warm networks.
    warm = [cost.seconds for cost in runtime.costs if cost.what.startswith("warm network")]
    assert len(warm) == 2 and row["teacher_seconds"] == pytest.approx(sum(warm))


@pytest.mark.slow
def test_two_processes_give_the_images_of_one(runtime, tmp_path):
    one = made(sequence_of(dm(), dm()), runtime)
    parallel = Hardware("cpu", 2, ExpertParallelStrategy("spawn"))
    two = Runtime(Store(tmp_path / "two"), tmp_path, parallel, NoTracker(), threads=1)
    members = made(sequence_of(dm(), dm()), two)
    assert all(torch.equal(images(a), images(b)) for a, b in zip(one, members, strict=True))


class Alone(Method):
    """A method that does not say that it can match several sets."""

    iterations = 1


def test_what_cannot_be_is_refused(runtime):
    presets = Presets("noise")
    with pytest.raises(InputError, match="experts=sequence with method=random: a method whose images move"):
        sequence(functools.partial(Random), presets, 2, 2, "total", True, None)
    with pytest.raises(
        InputError, match=r"experts.union=True: false with method=.*[aA]lone, which cannot match several"
    ):
        sequence(functools.partial(Alone), presets, 2, 2, "total", True, None)
    with pytest.raises(
        InputError, match="pipeline=pretrain: full: of a sequence, networks are trained between"
    ):
        Pretrain(sequence_of(dm(), dm())).run(runtime)
    with pytest.raises(InputError, match="pipeline=distill: full: of a sequence"):
        Distill(sequence_of(dm(), dm())).run(runtime)
    with pytest.raises(InputError, match="run the same command with pipeline=distill"):
        distill(sequence_of(dm(), dm()), runtime)


def test_the_iterations_of_the_method_are_shared_out():
    members = sequence(dm(iterations=300).method, Presets("noise"), 2, 3, "total", True, None).members
    each = sequence(dm(iterations=300).method, Presets("noise"), 2, 3, "each", True, None).members
    assert {m.method().iterations for m in members} == {100} and {m.method().iterations for m in each} == {
        300
    }
