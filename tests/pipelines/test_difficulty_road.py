"""Networks recorded while they learn, and the scores of difficulty that come from them, on the whole road."""

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F
from conftest_pretraining import EPOCHS, NETWORK, SGD, Data, plan
from torch.nn.utils import vector_to_parameters

from moe_distill.data.difficulty import aum, el2n, forgetting, in_order
from moe_distill.data.partition.split import Stratified
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.roster import ExpertSpec
from moe_distill.methods.coreset import (
    AUM,
    CCS,
    EL2N,
    AUMTiled,
    CCSTiled,
    EL2NTiled,
    Forgetting,
    ForgettingTiled,
)
from moe_distill.methods.dm import DM
from moe_distill.pipelines.distill import distill
from moe_distill.pipelines.full import Full
from moe_distill.pipelines.pretrain import pretrain
from moe_distill.results.known_rows import FinishedRows
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.sweeps.forecast import missing
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers import recorded_networks
from moe_distill.teachers.difficulty_partition import Difficulty
from moe_distill.teachers.recorded_networks import RecordedNetworks
from moe_distill.teachers.score_initializer import ScoreInitializer
from moe_distill.teachers.trajectories import KIND
from moe_distill.training.mixing import NoFusion

POOL = RecordedNetworks(2, EPOCHS, NETWORK, SGD)
SORTED = Difficulty(el2n, POOL)
IPC = 2
EXAM = EvaluationProtocol({"small": NETWORK}, SGD, NoFusion(), 1)


def coreset(method=EL2N, **settings):
    return ExpertSpec(functools.partial(method, pool=POOL, **settings), IPC)


def starting(score=el2n):
    init = ScoreInitializer(score, functools.partial(in_order, order="hardest"), POOL)
    method = functools.partial(DM, iterations=2, lr=1.0, momentum=0.5, real_batch=4, augment=None, init=init)
    return ExpertSpec(method, IPC)


def recorded(runtime):
    return sorted(runtime.store.root.glob(f"{KIND}/*/snapshots.npy"))


def by_hand(score, runtime, real):
    """Return the mean score of each image over the networks: one image at a time, in float64."""
    every = POOL.trajectories.load(runtime.store, real, NETWORK)
    totals = torch.zeros(len(real), dtype=torch.float64)
    for teacher in range(2):
        network, logits = NETWORK(channels=1, classes=3, size=8).double(), []
        for epoch in range(1, EPOCHS + 1):
            vector_to_parameters(every.snapshot(teacher, epoch).double(), network.parameters())
            images = (real.images_NCHW.double() / 255 - 0.5) / 0.25
            logits.append(torch.cat([network(image[None]) for image in images]).detach())
        totals += score(torch.stack(logits), real.labels_N)
    return totals / 2


@pytest.fixture
def real():
    return Data().load(None)[0]


@pytest.mark.parametrize("score", [el2n, forgetting, aum])
def test_scores_are_means_over_networks_of_every_epochs_predictions(runtime, real, score):
    pretrain(plan(coreset()), runtime)
    made = POOL.scores(score, POOL.load(runtime.store, real), real, torch.arange(len(real)))
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, by_hand(score, runtime, real), rtol=0, atol=1e-5)
    assert len(made.unique()) > len(real) // 2


def test_scores_depend_neither_on_the_order_nor_on_the_batches(runtime, real, monkeypatch):
    pretrain(plan(coreset()), runtime)
    networks, rows = POOL.load(runtime.store, real), torch.randperm(len(real), generator=stream(0, "rows"))
    whole = POOL.scores(aum, networks, real, torch.arange(len(real)))
    monkeypatch.setattr(recorded_networks, "_CHUNK", 5)
    torch.testing.assert_close(POOL.scores(aum, networks, real, rows), whole[rows], rtol=0, atol=1e-5)
    part = real.subset(rows[:7])
    torch.testing.assert_close(
        POOL.scores(aum, networks, part, torch.arange(7)), whole[rows[:7]], rtol=0, atol=1e-5
    )


def test_networks_see_all_images_and_are_trained_once_for_everything(runtime, real):
    members = coreset(), coreset(CCS), starting(aum)
    given = plan(*members, partition=SORTED)
    stages = missing(Full({"plan": given}, {}, EXAM), FinishedRows(runtime.store))
    assert [s.name for s in stages].count("trajectories") == 2
    told = pretrain(given, runtime)
    assert told["networks"] == 2 and len(recorded(runtime)) == 2
    assert [c.what for c in runtime.costs] == ["trajectories of difficulty"]
    assert runtime.costs[0].images == 2 * EPOCHS * len(real)
    distill(given, runtime)
    pretrain(plan(coreset(Forgetting), coreset(), partition=Stratified(), seed=3), runtime)
    assert len(recorded(runtime)) == 2


@pytest.mark.parametrize(("method", "score"), [(EL2N, el2n), (Forgetting, forgetting), (AUM, aum)])
@pytest.mark.parametrize("order", ["easiest", "hardest"])
def test_a_coreset_holds_the_easiest_or_hardest_images_of_its_part(runtime, real, method, score, order):
    given = plan(coreset(method, order=order), coreset(method, order=order))
    pretrain(given, runtime)
    distill(given, runtime)
    members = SyntheticSet.load(given.find(runtime.store, real)).members
    scores = by_hand(score, runtime, real)
    for member, part in zip(members, given.parts(real, runtime.store), strict=True):
        for c in range(3):
            rows = [i for i in part.tolist() if int(real.labels_N[i]) == c]
            rows.sort(key=lambda i: (1 if order == "easiest" else -1) * float(scores[i]))
            expected = real.images_NCHW[rows[:IPC]] / 255
            torch.testing.assert_close(
                member.images.detach()[c * IPC : (c + 1) * IPC], expected, rtol=0, atol=1e-6
            )


TILED = [(EL2NTiled, EL2N), (ForgettingTiled, Forgetting), (AUMTiled, AUM), (CCSTiled, CCS)]


@pytest.mark.parametrize(("tiled", "plain"), TILED)
def test_a_tiled_coreset_holds_four_times_the_images_at_half_the_side(runtime, real, tiled, plain):
    """Tile k of every image comes before tile k + 1 of any: one image a class, so they lie row by row."""
    one = dataclasses.replace(coreset(tiled, factor=2), ipc=1)
    four = dataclasses.replace(coreset(plain), ipc=4)
    members = []
    for spec in (one, four):
        given = plan(spec, partition=Stratified())
        pretrain(given, runtime)
        distill(given, runtime)
        (member,) = SyntheticSet.load(given.find(runtime.store, real)).members
        members.append(member.images.detach())
    for c in range(3):
        halves = F.interpolate(members[1][4 * c : 4 * c + 4], scale_factor=0.5, mode="area")
        wanted = torch.cat([torch.cat([*halves[:2]], 2), torch.cat([*halves[2:]], 2)], 1)
        torch.testing.assert_close(members[0][c], wanted, rtol=0, atol=1e-5)


def test_parts_go_from_easy_to_hard_before_and_after_the_networks_are_there(runtime, real):
    given = plan(starting(), starting(), partition=SORTED)
    given.check(real)
    with pytest.raises(InputError, match=r"trajectory 0 of 2 .*pipeline=pretrain"):
        given.parts(real, runtime.store)
    pretrain(given, runtime)
    scores = by_hand(el2n, runtime, real)
    easy, hard = given.parts(real, runtime.store)
    for c in range(3):
        assert scores[easy[real.labels_N[easy] == c]].max() < scores[hard[real.labels_N[hard] == c]].min()
    distill(given, runtime)
    assert len(SyntheticSet.load(given.find(runtime.store, real)).members) == 2


def test_everything_of_a_partition_by_difficulty_is_in_the_key(runtime, real):
    def settings(**changes):
        given = plan(starting(), starting(), partition=dataclasses.replace(SORTED, **changes))
        return key(given.settings(real, runtime.cache))

    others = {"deal": "dealt"}, {"share": 0.5}, {"score": aum}, {"pool": dataclasses.replace(POOL, epochs=2)}
    assert len({settings(), *(settings(**one) for one in others)}) == 5


def test_networks_that_cannot_be_recorded_are_refused_before_any_work(runtime, real):
    normed = dataclasses.replace(POOL, network=functools.partial(NETWORK, norm="batch"))
    member = ExpertSpec(functools.partial(EL2N, pool=normed), IPC)
    with pytest.raises(InputError, match=r"^features.model=.* with running statistics"):
        pretrain(plan(member), runtime)
    assert not list(runtime.store.root.glob("*/*/manifest.json"))


def test_as_part_of_another_initialiser_it_is_refused(real):
    init = ScoreInitializer(el2n, in_order, POOL)
    with pytest.raises(InputError, match=r"^init.of=.*el2n"):
        init(real, 0, 2, stream(0, "x"))
