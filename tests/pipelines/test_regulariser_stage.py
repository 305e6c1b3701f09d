"""A regulariser's networks on their road: trained once, on the run's data or other data, handed on, refused,
told."""

import dataclasses
import functools
import json

import pytest
import torch
from conftest_pretraining import NETWORK, SGD, Data, plan

from moe_distill.data.initialization import random_real
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.forecast import forward_passes
from moe_distill.experts.roster import ExpertSpec
from moe_distill.methods.coreset import Random
from moe_distill.methods.dm import DM
from moe_distill.methods.regularizers.clom import CCLoM, CLoM
from moe_distill.models.alexnet import AlexNet
from moe_distill.pipelines.distill import distill
from moe_distill.pipelines.full import Full
from moe_distill.pipelines.pretrain import pretrain
from moe_distill.results.known_rows import FinishedRows
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.sweeps.forecast import missing
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.pool import KIND, PretrainedNetworks, one_each
from moe_distill.training.mixing import NoFusion
from moe_distill.training.recipe import Recipe

pytestmark = pytest.mark.slow

RECIPE = dataclasses.replace(SGD, epochs=3)
POOL = PretrainedNetworks(2, NETWORK, RECIPE)
MEMBER = ExpertSpec(functools.partial(DM, 2, 1.0, 0.5, 8, None, random_real), 1)
BAD = "^regulariser.pools.data=other of"


@dataclasses.dataclass(frozen=True)
class Other:
    """Noise of other statistics that stands for another data set."""

    classes: tuple = ("a", "b", "c")
    size: int = 8
    channels: int = 1
    name: str = "other"

    def load(self, cache):
        shape = (24, self.channels, self.size, self.size)
        pixels = torch.randint(0, 120, shape, generator=stream(1, "px"), dtype=torch.uint8)
        labels = torch.arange(24) % len(self.classes)
        statistics = (0.2,) * self.channels, (0.1,) * self.channels
        real = RealSet(pixels, labels, self.classes, *statistics, "other", "test")
        return real, real.subset(torch.arange(9))


FOREIGN = Other(classes=("x", "y", "z", "w"))


def regularised(term, *members, **changes):
    return plan(*(members or (MEMBER,)), regulariser=term, **changes)


def manifests(runtime):
    return [json.loads(path.read_text()) for path in runtime.store.root.glob(f"{KIND}/*/manifest.json")]


def images(given, runtime):
    real, _ = given.data.load(None)
    return torch.cat([m.images.detach() for m in SyntheticSet.load(given.find(runtime.store, real)).members])


def test_the_networks_are_trained_once_and_decide_the_set(runtime):
    pools = one_each({"convnet": NETWORK, "alexnet": functools.partial(AlexNet, width=0.0625)}, 2, RECIPE)
    both = regularised(CLoM(pools), MEMBER, ExpertSpec(functools.partial(Random), 1))
    told = pretrain(both, runtime)
    assert told["networks"] == 4 and len(manifests(runtime)) == 4
    assert [c.found for c in runtime.costs] == [False] * 4 and len({c.what for c in runtime.costs}) == 4
    pretrain(regularised(CCLoM(pools[:1], 5.0)), runtime)
    assert len(manifests(runtime)) == 4
    sets = []
    for term in (CLoM(pools), CLoM(pools[:1]), CCLoM(pools[:1]), CLoM(pools[:1], 5.0), None):
        distill(given := regularised(term), runtime)
        sets.append(images(given, runtime))
    assert all(not torch.equal(a, b) for i, a in enumerate(sets) for b in sets[:i])


def test_a_selection_alone_needs_no_networks(runtime):
    alone = ExpertSpec(functools.partial(Random), 1)
    given, real = regularised(CLoM([POOL]), alone), Data().load(None)[0]
    assert pretrain(given, runtime) == {"networks": 0}
    distill(given, runtime)
    assert key(given.settings(real, runtime.cache)) == key(plan(alone).settings(real, runtime.cache))


def test_other_data_trains_the_networks_a_run_on_it_would(runtime):
    abroad = dataclasses.replace(POOL, data=FOREIGN)
    pretrain(given := regularised(CCLoM([abroad])), runtime)
    assert [m["trained_on"]["classes"] for m in manifests(runtime)] == [["x", "y", "z", "w"]] * 2
    pretrain(regularised(CLoM([POOL]), data=FOREIGN), runtime)  # the run's own data, the same networks
    assert len(manifests(runtime)) == 2 and [c.found for c in runtime.costs] == [False, False, True, True]
    distill(given, runtime)
    pretrain(at_home := regularised(CCLoM([POOL])), runtime)
    distill(at_home, runtime)
    assert len(manifests(runtime)) == 4 and not torch.equal(images(given, runtime), images(at_home, runtime))


def test_other_images_in_the_place_of_a_pools_data_give_another_set(runtime):
    real, _ = Data().load(None)
    given = regularised(CCLoM([dataclasses.replace(POOL, data=FOREIGN)]))
    before = key(given.settings(real, runtime.cache))
    assert before == key(given.settings(real, runtime.cache))
    with pytest.MonkeyPatch.context() as patch:
        seen, test = FOREIGN.load(None)
        patch.setattr(Other, "load", lambda self, cache: (seen.subset(torch.arange(1, len(seen))), test))
        assert key(given.settings(real, runtime.cache)) != before


def test_networks_of_other_data_see_the_same_pixels_by_their_own_statistics(runtime):
    (real, _), (own, _) = Data().load(None), FOREIGN.load(None)
    pretrain(regularised(CCLoM([dataclasses.replace(POOL, data=FOREIGN)])), runtime)
    (network, _), (plain, _) = (
        dataclasses.replace(POOL, data=d).load(runtime.store, seen)
        for d, seen in ((FOREIGN, real), (None, own))
    )
    pixels = real.images_NCHW[:5]
    torch.testing.assert_close(
        network(real.normalised(pixels)), plain(own.normalised(pixels)), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(network(real.normalised(pixels)), plain(real.normalised(pixels)), atol=1e-2)
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def refused(stage, given, runtime, line):
    with pytest.raises(InputError, match=line) as error:
        stage(given, runtime)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [FOREIGN, Other(classes=("b", "a", "c")), Other(classes=("a", "b"))])
def test_clom_refuses_networks_of_other_classes_before_any_work(runtime, data):
    for stage in (pretrain, distill):
        refused(
            stage,
            regularised(CLoM([dataclasses.replace(POOL, data=data)])),
            runtime,
            "^regulariser=clom .*cclom",
        )
    assert manifests(runtime) == [] and not list(runtime.store.root.glob("set/*"))


@pytest.mark.parametrize(("data", "held"), [(Other(size=9), "1×9×9"), (Other(channels=3), "3×8×8")])
def test_images_of_another_shape_are_refused(runtime, data, held):
    given = regularised(CCLoM([dataclasses.replace(POOL, data=data)]))
    refused(pretrain, given, runtime, f"{BAD} {held}: images of 1×8×8, as noise has$")
    assert manifests(runtime) == []


@pytest.mark.parametrize(
    ("stored", "line"),
    [
        (["b", "a", "c"], "trained on 3 classes: number 0 is b, not a"),
        (["a", "b"], "trained on 2 classes: the 3"),
    ],
)
def test_a_stored_network_of_other_classes_is_refused(runtime, stored, line):
    pretrain(given := regularised(CLoM([POOL])), runtime)
    path = next(runtime.store.root.glob(f"{KIND}/*/manifest.json"))
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "trained_on": {**manifest["trained_on"], "classes": stored}}))
    refused(distill, given, runtime, f"^pools={path.parent}, {line}.*classes of noise, in their order$")


def test_a_set_without_its_networks_says_which_stage_is_missing(runtime):
    refused(
        distill, regularised(CLoM([POOL])), runtime, r"^pipeline=distill .convnet 1 of 2 .*pipeline=pretrain"
    )


def test_early_networks_stop_before_the_rate_falls_or_after_it_fell():
    long = Recipe("t", epochs=150, drops=(0.3334, 0.6667))
    assert long.drop_epochs == (50, 100)
    for epochs, drops in ((4, ()), (50, ()), (51, (50,)), (140, (50, 100)), (150, (50, 100))):
        (pool,) = one_each({"a": NETWORK}, 1, long, epochs)
        assert (pool.recipe.total_epochs, pool.recipe.drop_epochs) == (epochs, drops)
        assert [pool.recipe.lr_at(e) for e in range(epochs)] == [long.lr_at(e) for e in range(epochs)]
    for networks, epochs, line in (
        (0, None, "networks=0"),
        (1, 0, "epochs=0"),
        (1, 151, "epochs=151: at most 150"),
    ):
        with pytest.raises(InputError, match=f"^{line}"):
            one_each({"a": NETWORK}, networks, long, epochs)


def test_pools_differ_by_their_data():
    assert len({key(dataclasses.replace(POOL, data=d)) for d in (None, FOREIGN, Other())}) == 3


def test_the_forecast_counts_networks_and_the_term(runtime):
    given, protocol = (
        regularised(CCLoM([dataclasses.replace(POOL, data=FOREIGN)])),
        EvaluationProtocol({"student": NETWORK}, SGD, NoFusion(), 1),
    )
    stages = [
        s
        for s in missing(Full({"plan": given}, {}, protocol), FinishedRows(runtime.store))
        if s.name == "teachers"
    ]
    assert [s.forward_passes for s in stages] == [3.0 * 3 * 24] * 2
    real, _ = Data().load(None)
    assert forward_passes(given, real) - forward_passes(plan(MEMBER), real) == 2 * (3 * 3 + len(real))
    pretrain(given, runtime)
    assert not [
        s
        for s in missing(Full({"plan": given}, {}, protocol), FinishedRows(runtime.store))
        if s.name == "teachers"
    ]


@pytest.mark.parametrize("method", ["dc", "idm", "idc", "mtt"])
def test_any_method_that_moves_images_carries_it(shared_suite, method):
    suite, given = shared_suite, (f"method={method}", "regulariser=cclom", "ipc=1", "noe=1")
    before = set(suite.artifacts("set"))
    suite("pipeline=pretrain", *given)
    suite("pipeline=distill", *given)
    (made,) = set(suite.artifacts("set")) - before
    assert json.loads((made / "manifest.json").read_text())["settings"]["regulariser"]["real_batch"] == 8196
    assert len(suite.artifacts(KIND)) == 2  # all methods share them


def test_results_say_the_regulariser(suite):
    suite(
        "method=dm", "regulariser=clom", "ipc=1", "noe=1", "students=convnet3", "seeds=1", "baselines=random"
    )
    assert [(r["method"], r["regulariser"]) for r in suite.rows()] == [
        ("dm", "clom-2000-convnet-2x1ep"),
        ("random", "none"),
    ]
