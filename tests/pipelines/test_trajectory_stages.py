"""Trajectories on their road: trained for each expert's part, once, through kills, and handed to its
method."""

import dataclasses
import functools
import hashlib

import numpy as np
import pytest
import torch
from conftest_pretraining import EPOCHS, FLAT, IMAGES, NETWORK, POOL, SGD, SUNK, Data, follower, plan
from torch import nn

from moe_distill.data.partition.split import KMeans, Stratified
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.training_set import training_set_of
from moe_distill.experts.loading import trajectories_of
from moe_distill.experts.roster import ExpertSpec
from moe_distill.experts.rotation import Rotation
from moe_distill.methods.coreset import Random
from moe_distill.models.convnet import ConvNet
from moe_distill.pipelines.distill import distill
from moe_distill.pipelines.full import Full
from moe_distill.pipelines.pretrain import pretrain
from moe_distill.results.known_rows import FinishedRows
from moe_distill.seeding import draw_seed
from moe_distill.sweeps.forecast import missing
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.trajectories import KIND, SNAPSHOTS, TrajectoryPool
from moe_distill.training.classifier import Classifier
from moe_distill.training.mixing import NoFusion
from moe_distill.training.recipe import Recipe


def recorded(runtime):
    """Return the snapshot files in the store."""
    return sorted(runtime.store.root.glob(f"{KIND}/*/{SNAPSHOTS}"))


def parts_of(given, runtime):
    train, _ = given.data.load(None)
    return train, given.parts(train, runtime.store)


def by_hand(start_P, real, rng):
    """Return the weights after every five updates of plain descent, in float64; the shell's draws, in its
    order.

    All 36 images are five batches; the part is passed over as often as its three batches take.
    """
    network = NETWORK(channels=1, classes=3, size=8).double()
    nn.utils.vector_to_parameters(start_P.double(), network.parameters())
    x, after, batches = real.normalised(real.images_NCHW).double(), [], []
    for update in range(1, 5 * EPOCHS + 1):
        batches = batches or [*torch.randperm(len(real), generator=rng).split(SGD.batch_size)]
        rows = batches.pop(0)
        draw_seed(rng)
        loss = nn.functional.cross_entropy(network(x[rows]), real.labels_N[rows])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for p, g in zip(network.parameters(), gradients, strict=True):
                p -= SGD.lr * g
        if update % 5 == 0:
            after.append(nn.utils.parameters_to_vector(network.parameters()).detach().clone())
    return after


def test_snapshots_are_those_of_plain_descent_on_the_experts_own_part(runtime):
    given = plan(follower(), follower())
    told = pretrain(given, runtime)
    train, parts = parts_of(given, runtime)
    assert told["networks"] == 4 and 0 <= told["accuracy"] <= 1
    assert [len(p) for p in parts] == [18, 18]  # three steps a pass, the last one of two images
    for part, (found,) in zip(
        parts, trajectories_of(given, train, parts, runtime.store).values(), strict=True
    ):
        real, pool = train.subset(part), POOL.for_epochs(EPOCHS)
        for teacher in range(2):
            start = nn.utils.parameters_to_vector(pool.blank(real, NETWORK, teacher).parameters()).detach()
            assert torch.equal(found.snapshot(teacher, 0), start)
            wanted = by_hand(start, real, pool.stream(real, teacher, "training"))
            for epoch, want in enumerate(wanted, start=1):
                assert torch.allclose(found.snapshot(teacher, epoch).double(), want, rtol=0, atol=2e-6)
                assert not torch.allclose(want.float(), found.snapshot(teacher, epoch - 1), rtol=0, atol=1e-4)
    assert not list(runtime.store.root.glob("work/*"))
    assert [(c.stage, c.what, c.found) for c in runtime.costs] == [
        ("pretrain", f"trajectories of follower1x2 expert {n}", False) for n in (1, 2)
    ]
    assert {(c.steps, c.images) for c in runtime.costs} == {(2 * 5 * EPOCHS, 2 * 18 * 5)}  # five passes


def test_each_expert_is_handed_its_own_teachers(runtime):
    given = plan(follower(), ExpertSpec(functools.partial(Random), 1), follower())
    train, parts = parts_of(given, runtime)
    pretrain(given, runtime)
    distill(given, runtime)
    trained = [cost.seconds for cost in runtime.costs if cost.stage == "pretrain"]
    assert len(trained) == 2
    recorded_with_set = training_set_of(given, runtime).cost["teacher_seconds"]
    assert recorded_with_set == pytest.approx(sum(trained))
    held = trajectories_of(given, train, parts, runtime.store)
    assert list(held) == [0, 2]
    members = SyntheticSet.load(given.find(runtime.store, train)).members
    for number, (found,) in held.items():
        want = [found.snapshot(n % 2, EPOCHS)[:64].view(1, 8, 8) for n in range(3)]
        assert torch.equal(members[number].images.detach(), torch.stack(want))
    assert not torch.equal(members[0].images, members[2].images)


def test_what_two_methods_want_alike_is_trained_once(runtime):
    shared = dataclasses.replace(POOL, networks_see="all")
    both = plan(follower(teachers=shared), follower(teachers=shared))
    pretrain(both, runtime)
    files = recorded(runtime)
    assert len(files) == 2 and len(runtime.costs) == 1
    alone = plan(follower(), seed=5)  # a single expert's part is all there is
    runtime.store.made.clear()
    pretrain(alone, runtime)
    assert (recorded(runtime), runtime.store.made) == (files, [])
    assert [c.found for c in runtime.costs] == [False, True]
    train, parts = parts_of(both, runtime)
    first, second = trajectories_of(both, train, parts, runtime.store).values()
    assert first == second
    pretrain(plan(follower(epochs_needed=EPOCHS + 1)), runtime)
    assert len(recorded(runtime)) == 4


def hashes(runtime):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in recorded(runtime)]


def dying(monkeypatch, at):
    """Let the process end in a step of the first training that comes to it."""
    original = Classifier.training_step

    def step(self, number, batch):
        if number == at:
            raise InterruptedError
        original(self, number, batch)

    monkeypatch.setattr(Classifier, "training_step", step)


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "file lost"])
@pytest.mark.parametrize("recipe", [SGD, FLAT], ids=["sgd", "gsam"])
def test_a_killed_training_leaves_the_same_bytes(runtime, monkeypatch, recipe, lost):
    given = plan(follower(teachers=TrajectoryPool(1, recipe), epochs_needed=5))
    pretrain(given, runtime)
    calm, (path,) = hashes(runtime), recorded(runtime)
    kept = np.load(path)
    (path.parent / "manifest.json").unlink()
    path.unlink()
    path.parent.rmdir()
    with monkeypatch.context() as patched:
        dying(
            patched, at=17
        )  # five steps an epoch; the checkpoint is of step 10, the last snapshot of step 15
        with pytest.raises(InterruptedError):
            pretrain(given, runtime)
    (work,) = runtime.store.root.glob(f"work/{KIND}-*")
    left = np.load(work / SNAPSHOTS)
    assert (left[:4] == kept[:4]).all() and (left[4:] == 0).all() and (work / "last.ckpt").is_file()
    if lost:
        (work / SNAPSHOTS).unlink()
    steps, original = [], Classifier.training_step
    monkeypatch.setattr(
        Classifier, "training_step", lambda self, n, b: (steps.append(n), original(self, n, b))[0]
    )
    pretrain(given, runtime)
    assert steps == list(range(0 if lost else 10, 25))
    assert hashes(runtime) == calm
    assert runtime.costs[-1].images == 5 * IMAGES


def test_training_by_flat_descent_gives_other_snapshots_from_the_same_start(runtime):
    train, _ = Data().load(None)
    found = []
    for recipe in (SGD, FLAT):
        given = plan(follower(teachers=TrajectoryPool(1, recipe)))
        pretrain(given, runtime)
        found.append(trajectories_of(given, train, given.parts(train, runtime.store), runtime.store)[0][0])
    plain, flat = found
    assert torch.equal(plain.snapshot(0, 0), flat.snapshot(0, 0))
    assert not torch.equal(plain.snapshot(0, 1), flat.snapshot(0, 1))


def test_distilling_without_trajectories_says_which_stage_is_missing(runtime):
    with pytest.raises(
        InputError, match=r"^method.teachers=trajectory 0 of 2 .*pipeline=pretrain"
    ) as missing:
        distill(plan(follower()), runtime)
    assert "\n" not in str(missing.value) and not list(runtime.store.root.glob("set/*"))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (plan(follower(epochs_needed=0)), "method.epochs_needed=0"),
        (
            plan(follower(teachers=TrajectoryPool(1, SUNK))),
            "plan.roster.method.teachers.recipe.optimizer.rho=0.0",
        ),
        (
            plan(follower(), network=functools.partial(NETWORK, norm="batch")),
            "model=ConvNet with running statistics",
        ),
    ],
)
def test_nonsense_is_refused_before_any_work(runtime, given, line):
    for stage in (pretrain, distill):
        with pytest.raises(InputError, match=f"^{line}"):
            stage(given, runtime)
    assert not list(runtime.store.root.glob("*"))


def test_sets_are_told_apart_by_their_trajectories(runtime):
    train, _ = Data().load(None)
    others = [{"networks": 3}, {"recipe": FLAT}, {"networks_see": "all"}, {"seed": 1}]
    kept = [plan(follower(teachers=dataclasses.replace(POOL, **change))) for change in ({}, *others)]
    assert len({runtime.store.path("set", p.settings(train, runtime.cache)) for p in kept}) == 5


def test_a_plan_that_needs_no_teachers_trains_none(runtime):
    told = pretrain(plan(ExpertSpec(functools.partial(Random), 1)), runtime)
    assert told == {"networks": 0} and runtime.costs == [] and runtime.store.made == []


@pytest.mark.parametrize("partition", [Stratified(), KMeans()], ids=["stratified", "kmeans"])
def test_the_forecast_counts_what_is_missing(runtime, partition):
    given = plan(follower(), follower(teachers=TrajectoryPool(1, FLAT)), partition=partition)
    protocol = EvaluationProtocol({"student": NETWORK}, Recipe("r", epochs=1), NoFusion(), 1)
    stages = [
        s
        for s in missing(Full({"plan": given}, {}, protocol), FinishedRows(runtime.store))
        if s.name == "trajectories"
    ]
    # five passes over a part in fifteen updates, three forwards an image, twice that for a step of two passes
    assert sorted(s.forward_passes for s in stages) == [3 * 5 * 18] * 2 + [6 * 5 * 18]
    assert len({s.address for s in stages}) == 3
    pretrain(given, runtime)
    assert [s.name for s in missing(Full({"plan": given}, {}, protocol), FinishedRows(runtime.store))] == [
        f"distill {given.roster}",
        f"students {given.roster}",
    ]


def test_each_architecture_of_an_expert_has_teachers_of_its_own(runtime):
    wider = functools.partial(ConvNet, depth=1, width=0.125)
    turning = dataclasses.replace(follower(), rotation=Rotation((NETWORK, wider), "none"))
    given = plan(turning, follower())
    assert pretrain(given, runtime)["networks"] == 6
    assert [c.what.removeprefix(f"trajectories of {given.roster} ") for c in runtime.costs] == [
        "expert 1 network 1",
        "expert 1 network 2",
        "expert 2",
    ]
    train, parts = parts_of(given, runtime)
    both, (alone,) = trajectories_of(given, train, parts, runtime.store).values()
    seen = train.subset(parts[0])
    for found, network in zip(both, (NETWORK, wider), strict=True):
        start = POOL.for_epochs(EPOCHS).blank(seen, network, 1).parameters()
        assert torch.equal(found.snapshot(1, 0), nn.utils.parameters_to_vector(start).detach())
    assert len(alone.snapshot(0, 0)) == len(both[0].snapshot(0, 0)) < len(both[1].snapshot(0, 0))
    distill(given, runtime)
    (first, _) = SyntheticSet.load(given.find(runtime.store, train)).members
    want = [both[0].snapshot(n % 2, EPOCHS)[:64].view(1, 8, 8) for n in range(3)]
    assert torch.equal(first.images.detach(), torch.stack(want))


def test_an_architecture_that_cannot_have_its_turn_is_refused_before_any_training(runtime):
    normed = functools.partial(ConvNet, depth=1, norm="batch")
    running = dataclasses.replace(follower(), rotation=Rotation((NETWORK, normed), "none"))
    with pytest.raises(InputError, match="ConvNet with running statistics: a network of parameters alone"):
        pretrain(plan(running), runtime)
    turned = dataclasses.replace(follower(), rotation=Rotation((NETWORK, nn.Identity), "none"))
    with pytest.raises(InputError, match=r"roster.networks"):
        plan(turned).check(Data().load(None)[0])
    assert not recorded(runtime)
