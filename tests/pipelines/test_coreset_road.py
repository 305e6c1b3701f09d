"""Selections of real images on the whole road: their network, their place in a mixture and in a table."""

import dataclasses
import functools

import pytest
import torch
from conftest_pretraining import NETWORK, SGD, plan

from moe_distill.data.initialization import random_real
from moe_distill.data.partition.split import Stratified
from moe_distill.diversity.measures import DistanceCorrelation
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.coordinator import Diversity
from moe_distill.experts.roster import ExpertSpec
from moe_distill.methods.coreset import Herding, KCenter, KMeans
from moe_distill.methods.dm import DM
from moe_distill.pipelines.distill import distill
from moe_distill.pipelines.full import Full
from moe_distill.pipelines.pretrain import pretrain
from moe_distill.results.known_rows import FinishedRows
from moe_distill.sweeps.forecast import missing
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.pool import KIND, PretrainedNetworks
from moe_distill.training.mixing import NoFusion

POOL = PretrainedNetworks(1, NETWORK, dataclasses.replace(SGD, epochs=1))
TERM = Diversity(DistanceCorrelation(), weight=1.0, weight_is="absolute", every=1)
IPC = 3
EXAM = EvaluationProtocol({"small": NETWORK}, SGD, NoFusion(), 1)


def coreset(method):
    return ExpertSpec(functools.partial(method, pool=POOL), IPC)


def matching():
    method = functools.partial(
        DM, iterations=2, lr=1.0, momentum=0.5, real_batch=4, augment=None, init=random_real
    )
    return ExpertSpec(method, IPC)


def made(given, runtime):
    """Run a plan's first stages; return its members' stored images."""
    pretrain(given, runtime)
    distill(given, runtime)
    folder = given.find(runtime.store, given.data.load(None)[0])
    return [member.images.detach() for member in SyntheticSet.load(folder).members]


@pytest.mark.parametrize("method", [Herding, KCenter, KMeans])
def test_a_selection_is_a_constant_that_the_other_expert_moves_away_from(runtime, method):
    apart, alone = (made(plan(coreset(method), matching(), diversity=term), runtime) for term in (TERM, None))
    assert torch.equal(apart[0], alone[0])
    assert not torch.equal(apart[1], alone[1])
    train, _ = plan(matching()).data.load(None)
    part, _ = plan(coreset(method), matching()).parts(train, runtime.store)
    seen = train.subset(part)
    pixels = [(seen.images_NCHW[seen.labels_N == c] / 255).flatten(1) for c in range(3)]
    for c, images in enumerate(apart[0].flatten(1).split(IPC)):
        away = (images[:, None] - pixels[c]).abs().amax(2)
        assert (away.amin(1) < 1e-6).all() and len(set(away.argmin(1).tolist())) == IPC


def test_its_network_is_trained_once_for_all_that_ask_and_found_where_phi_has_it(runtime):
    members = (coreset(Herding), coreset(KCenter), matching())
    given = plan(*members, diversity=TERM, features=dataclasses.replace(POOL, networks=2))
    train, _ = given.data.load(None)
    stages = missing(Full({"plan": given}, {}, EXAM), FinishedRows(runtime.store))
    assert len({s.address for s in stages if s.name == "teachers"}) == 2
    made(given, runtime)
    assert len(list(runtime.store.root.glob(f"{KIND}/*/manifest.json"))) == 2
    assert [c.stage for c in runtime.costs].count("pretrain") == 2  # the network that is shared costs once
    assert all(runtime.store.find(KIND, POOL.settings(train, index)) for index in range(2))
    made(plan(coreset(KMeans)), runtime)
    assert len(list(runtime.store.root.glob(f"{KIND}/*/manifest.json"))) == 2


def test_without_its_network_it_says_what_to_run(runtime):
    with pytest.raises(InputError, match="pipeline=pretrain"):
        distill(plan(coreset(Herding)), runtime)


def test_parts_too_small_for_the_selection_are_refused_before_its_network_is_trained(runtime):
    """Twelve images a class: six for each of two experts."""
    many = dataclasses.replace(coreset(KMeans), ipc=7)
    with pytest.raises(InputError, match="ipc=7: at most 6,"):
        pretrain(plan(many, many, partition=Stratified()), runtime)
    assert not list(runtime.store.root.glob("*/*/manifest.json"))


def test_baselines_put_all_selections_beside_a_mixture_that_starts_from_one(suite):
    suite("method=dm", "init=kcenter", "baselines=coresets", "students=convnet3", "seeds=1", "noe=2", "ipc=2")
    starts = {row["roster"]: row["init"] for row in suite.rows()}
    rules = ("random", "herding", "kcenter", "kmeans", "el2n", "forgetting", "aum", "ccs")
    own = {f"{name}4x1": name for name in rules}
    assert starts == {"dm2x2": "kcenter", **own}
    assert len(suite.artifacts("teacher")) == len(suite.artifacts("trajectory")) == 1
