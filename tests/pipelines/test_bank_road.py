"""A bank on its road: computed once for all runs that can use it, through kills, and read by its method."""

import dataclasses
import functools

import pytest
import torch
from conftest_pretraining import NETWORK, SGD, Data, plan
from safetensors.torch import load_file

from moe_distill.data.augmentation.dsa import Augmentation, Crop
from moe_distill.data.initialization import first_real
from moe_distill.data.partition.split import NoSplit
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.loading import expert_banks
from moe_distill.experts.roster import ExpertSpec
from moe_distill.experts.rotation import Rotation
from moe_distill.methods.tgdd import TGDD
from moe_distill.models.convnet import ConvNet
from moe_distill.pipelines.distill import distill
from moe_distill.pipelines.full import Full
from moe_distill.pipelines.pretrain import pretrain
from moe_distill.results.known_rows import FinishedRows
from moe_distill.sweeps.forecast import bank_line, forecast, missing
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.bank import KIND, MEANS, entry_means
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.training.mixing import NoFusion

POOL = functools.partial(TrajectoryPool, networks=2, recipe=SGD)
SETTINGS = {
    "iterations": 4,
    "lr": 1.0,
    "momentum": 0.5,
    "real_batch": 5,
    "synthetic_batch": 200,
    "factor": 1,
    "alpha": 0.5,
    "constraint": "joint",
    "networks": "snapshot",
    "teacher_epochs": 2,
    "window": 2,
    "augment": Augmentation((Crop(),)),
    "init": first_real,
    "teachers": POOL,
    "targets": "bank",
    "bank_entries": 6,
}


def expert(**changes):
    return ExpertSpec(functools.partial(TGDD, **{**SETTINGS, **changes}), 2)


def files(runtime):
    return sorted(runtime.store.root.glob(f"{KIND}/*/{MEANS}"))


def banks_of(planned, runtime):
    train, _ = planned.data.load(None)
    return expert_banks(planned, train, planned.parts(train, runtime.store), runtime.cache)


def test_the_bank_is_of_the_experts_own_images_under_its_own_teachers(runtime):
    two = plan(expert(), expert())
    assert pretrain(two, runtime)["networks"] == 4
    for (bank,) in banks_of(two, runtime).values():
        stored, trajectories = bank.load(runtime.store), bank.pool.load(runtime.store, bank.seen, NETWORK)
        shell = bank.pool.blank(bank.seen, NETWORK, 0).eval()
        for number in range(6):
            wanted = entry_means(number, bank.draws, trajectories, shell, bank.part)
            assert torch.equal(stored.means(number), wanted) and wanted.shape[0] == 3
        assert [*load_file(stored.path)] == [str(n) for n in range(6)]
    assert len(files(runtime)) == 2 and not [*runtime.store.root.glob("work/*")]
    costs = [c for c in runtime.costs if c.what.startswith("bank")]
    assert [(c.what, c.steps, c.images) for c in costs] == [
        (f"bank of {two.roster} expert {n}", 6, 6 * 18) for n in (1, 2)
    ]
    assert all(c.seconds > 0 for c in costs)
    distill(two, runtime)
    members = SyntheticSet.load(two.find(runtime.store, Data().load(None)[0])).members
    assert not torch.equal(members[0].images, members[1].images)


def test_runs_that_can_share_a_bank_do(runtime):
    first = plan(expert())
    pretrain(first, runtime)
    made = files(runtime)
    same = [
        plan(expert(), seed=5),
        plan(expert(alpha=2.0, lr=0.1, factor=2, window=1)),
        plan(dataclasses.replace(expert(), ipc=1)),
        plan(expert(), expert(), partition=NoSplit()),
    ]
    for other in same:
        pretrain(other, runtime)
    assert files(runtime) == made
    others = [
        {"bank_entries": 5},
        {"per_class_images": 4},
        {"augment": None},
        {"teachers": functools.partial(POOL, seed=1)},
        {"teacher_epochs": 3, "window": 2},
    ]
    for change in others:
        with pytest.raises(
            InputError, match=r"^method.targets=a bank of \d entries that is not in .*pretrain"
        ):
            banks_of(plan(expert(**change)), runtime)[0][0].load(runtime.store)
    (halves, _) = banks_of(plan(expert(), expert()), runtime).values()
    with pytest.raises(InputError, match=r"^method.targets=a bank of 6 entries that is not in"):
        halves[0].load(runtime.store)


def test_experts_of_all_data_teachers_have_banks_of_their_parts(runtime):
    shared = functools.partial(POOL, networks_see="all")
    two = plan(expert(teachers=shared), expert(teachers=shared))
    assert pretrain(two, runtime)["networks"] == 2
    assert len(files(runtime)) == 2


def test_a_bank_in_the_place_of_another_is_refused(runtime):
    one, other = (banks_of(plan(expert(**c)), runtime)[0][0] for c in ({}, {"per_class_images": 4}))
    pretrain(plan(expert()), runtime)
    path = runtime.store.path(KIND, one.settings)
    path.rename(runtime.store.path(KIND, other.settings))
    with pytest.raises(InputError, match=r"^method.targets=a bank of 6 entries that is not in"):
        other.load(runtime.store)


def test_a_killed_computation_loses_one_entry_at_most(runtime, monkeypatch):
    given = plan(expert())
    pretrain(given, runtime)
    (path,) = files(runtime)
    calm = path.read_bytes()
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    computed = []

    def dying(number, *rest, at):
        if number == at:
            raise InterruptedError
        computed.append(number)
        return entry_means(number, *rest)

    monkeypatch.setattr("moe_distill.pipelines.bank.entry_means", functools.partial(dying, at=4))
    with pytest.raises(InterruptedError):
        pretrain(given, runtime)
    assert computed == [0, 1, 2, 3] and not files(runtime)
    (work,) = runtime.store.root.glob(f"work/{KIND}-*")
    half = work / "2.safetensors"
    half.write_bytes(half.read_bytes()[:-3])  # what a full disk or a broken one may leave
    monkeypatch.setattr("moe_distill.pipelines.bank.entry_means", functools.partial(dying, at=None))
    computed.clear()
    pretrain(given, runtime)
    assert computed == [2, 4, 5] and files(runtime) == [path] and path.read_bytes() == calm
    computed.clear()
    pretrain(given, runtime)
    assert not computed and runtime.costs[-1].found and not work.exists()


def test_distilling_without_a_bank_says_which_stage_is_missing(runtime):
    pretrain(plan(expert(targets="batch")), runtime)
    with pytest.raises(InputError, match=r"^method.targets=a bank of 6 entries .*pipeline=pretrain"):
        distill(plan(expert()), runtime)


def test_each_architecture_has_a_bank_of_its_own(runtime):
    wider = functools.partial(ConvNet, depth=1, width=0.125)
    turning = dataclasses.replace(expert(), rotation=Rotation((NETWORK, wider), "none"))
    given = plan(turning)
    pretrain(given, runtime)
    distill(given, runtime)
    narrow, wide = (bank.load(runtime.store).means(0) for bank in banks_of(given, runtime)[0])
    assert narrow.shape[1] < wide.shape[1]


def test_the_forecast_says_whether_the_bank_pays_for_all_runs(runtime, monkeypatch):
    monkeypatch.setattr("moe_distill.sweeps.forecast.speeds", lambda works, *_: [1.0] * len(works))
    protocol = EvaluationProtocol({"student": NETWORK}, SGD, NoFusion(), 1)
    results = FinishedRows(runtime.store)

    def lines(*plans):
        jobs = [(Full({"plan": p}, {}, protocol), results) for p in plans]
        coming = forecast(jobs, "cpu", None)
        return coming, [line for line in coming.lines() if "the bank takes" in line]

    # 6 entries of 36 images, against 4 iterations of 3 classes of 5 images in each run.
    one, four = [plan(expert())], [plan(expert(), seed=seed) for seed in range(4)]
    parts = {m.name: m for m in missing(Full({"plan": one[0]}, {}, protocol), results)}
    assert parts["bank of real means"].forward_passes == 6 * 36
    coming, said_one = lines(*one)
    assert (coming.banks, coming.spared) == (216.0, 60.0)
    assert said_one == [bank_line(216.0, 60.0)] and said_one[0].endswith("method.targets=batch is faster")
    coming, said_four = lines(*four)
    assert (coming.banks, coming.spared) == (216.0, 240.0)
    assert said_four == ["the bank takes 4 min and spares 4 min of real batches: it pays"]
    assert lines(plan(expert(targets="batch")))[1] == []
    pretrain(one[0], runtime)
    assert lines(*four)[1] == []
