"""Published settings: which row a split takes, how data are read, and what distilled sets are compared
with."""

import dataclasses
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from moe_distill.config.folders import conf_dir
from moe_distill.data.zca import ZCA
from moe_distill.errors import InputError
from moe_distill.store.identity import describe

CONF = Path(conf_dir())
IDM_ROWS = {
    ("cifar10", 1): (0.5, 5000, 5, 10, 100),
    ("cifar10", 10): (0.5, 256, 30, 10, 100),
    ("cifar10", 50): (0.1, 256, 30, 10, 500),
    ("cifar100", 1): (0.5, 5000, 5, 10, 100),
    ("cifar100", 10): (0.1, 256, 30, 50, 100),
    ("cifar100", 50): (0.1, 256, 30, 40, 500),
    ("tinyimagenet", 1): (0.5, 256, 30, 10, 100),
    ("tinyimagenet", 10): (0.5, 256, 30, 10, 500),
    ("tinyimagenet", 50): (0.8, 256, 30, 50, 1000),
}
LOOKING = ("herding", "kcenter", "kmeans")
WATCHING = tuple(f"{rule}{end}" for rule in ("el2n", "forgetting", "aum", "ccs") for end in ("", "_tiled"))
ROW_OF_SPLIT = {
    (1, 1): 1,
    (1, 2): 1,
    (5, 2): 10,
    (10, 1): 10,
    (10, 2): 10,
    (20, 1): 10,
    (25, 2): 50,
    (50, 1): 50,
}


def experts(cfg, ipc, noe):
    """Return the roster of a configuration at another split."""
    cfg.ipc, cfg.noe = ipc, noe
    return instantiate(cfg.experts, _convert_="all")


@pytest.mark.parametrize(("ipc", "noe"), ROW_OF_SPLIT)
@pytest.mark.parametrize("data", ["cifar10", "cifar100", "tinyimagenet"])
def test_idm_takes_the_published_row_of_its_budget(composed, data, ipc, noe):
    built = experts(composed(f"data={data}"), ipc, noe)
    row = ROW_OF_SPLIT[ipc, noe]
    assert [(m.ipc, m.row, m.name) for m in built.members] == [(ipc, row, "idm")] * noe
    for expert in built.members:
        m, q = expert.method.keywords, expert.method.keywords["queue"].keywords
        told = (m["ce_weight"], m["real_batch"], q["renew_every"], q["steps"], q["meter_reset"])
        assert told == IDM_ROWS[data, row]
        assert (m["iterations"], m["lr"], m["momentum"], m["factor"]) == (20001, 0.2, 0.5, 2)
        assert (q["capacity"], q["trained"], q["batch_size"]) == (100, 2, 256)
        assert (q["lr"], q["momentum"], q["weight_decay"]) == (0.01, 0.9, 5e-4)


@pytest.mark.parametrize(
    ("ipc", "noe", "row", "lr"),
    [(1, 1, 1, 1.0), (50, 1, 50, 1.0), (50, 2, 50, 1.0), (70, 1, 50, 1.0), (100, 1, 100, 10.0)],
)
def test_dm_takes_the_row_of_each_experts_own_ipc(composed, ipc, noe, row, lr):
    for m in experts(composed("method=dm"), ipc, noe).members:
        told = [m.method.keywords[k] for k in ("iterations", "lr", "momentum", "real_batch")]
        assert (m.row, told) == (row, [20001, lr, 0.5, 256])


def test_a_scale_shortens_what_it_names_and_leaves_the_rest_published(composed):
    method = instantiate(composed("scale=small").experts, _convert_="all").members[0].method.keywords
    assert (method["iterations"], method["queue"].keywords["steps"]) == (300, 2)
    assert (method["ce_weight"], method["queue"].keywords["renew_every"]) == (0.5, 30)


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "digits"])
def test_a_roster_of_two_methods_follows_the_data_set(composed, data):
    cfg = composed("experts=dm_idm", "recipe=dsa", f"data={data}")
    built = instantiate(cfg.experts, _convert_="all")
    assert (str(built), [m.row for m in built.members]) == ("dm5+idm5", [1, 10])
    steps = {"cifar100": 50}.get(data, 10)
    assert built.members[1].method.keywords["queue"].keywords["steps"] == steps


def test_baselines_have_the_mixtures_budget(composed):
    cfg = composed("baselines=single_and_random", "ipc=5", "noe=2")
    built = {name: str(instantiate(plan.roster, _convert_="all")) for name, plan in cfg.baselines.items()}
    assert built == {"single": "idm10x1", "random": "random10x1", "random_tiled": "random_tiled10x1"}
    cfg = composed("baselines=coresets", "ipc=5", "noe=2")
    plans = instantiate(cfg.baselines, _convert_="all")
    selections = [f"{name}{tiled}" for name in ("random", *LOOKING) for tiled in ("", "_tiled")]
    selections += WATCHING
    assert {n: str(p.roster) for n, p in plans.items()} == {n: f"{n}10x1" for n in selections}
    first = dataclasses.replace(instantiate(cfg.features.pool, _convert_="all"), networks=1)
    assert all(describe(plans[name].pretrained) == describe({0: {"init": first}}) for name in LOOKING)
    recorded = instantiate(cfg.features.recorded, _convert_="all")
    assert all(describe(plans[name].recorded_pools) == [describe(recorded)] for name in WATCHING)


@pytest.mark.parametrize(
    ("given", "opponent"),
    [
        (("method=idc",), "random_tiled10x1"),
        (("method=dm",), "random10x1"),
        (("method=idm", "method.factor=1"), "random10x1"),
        (("method=idm", "method.factor=3"), "random_tiled10x1"),
        (("experts=idm_mtt", "recipe=dsa"), "random_tiled5+random5"),
    ],
)
def test_the_tiled_opponent_is_stored_as_the_mixture_is(composed, given, opponent):
    cfg = composed("baselines=random", "ipc=5", "noe=2", *given)
    mixture, tiled = (
        instantiate(n, _convert_="all") for n in (cfg.experts, cfg.baselines.random_tiled.roster)
    )
    assert str(tiled) == opponent
    factors = [{m.method().tiling.factor for m in roster.members} for roster in (mixture, tiled)]
    assert factors[0] == factors[1]


PUBLISHED_WHITENED = [("mtt", "cifar10"), ("ftd", "cifar10"), ("ftd", "cifar100"), ("datm", "tinyimagenet")]
PUBLISHED_BY_CIFAR10 = [("mtt", "cifar100"), ("idc", "cifar100"), ("ncfm", "cifar100")]
PUBLISHED_BY_CHANNEL = [("idm", "cifar100"), ("idc", "cifar10"), ("mtt", "tinyimagenet"), ("dm", "cifar10")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "data"), [*PUBLISHED_WHITENED, *PUBLISHED_BY_CIFAR10, *PUBLISHED_BY_CHANNEL]
)
def test_data_are_read_as_the_authors_of_the_method_read_them(composed, method, data):
    given = (f"method={method}", f"data={data}")
    source = instantiate(composed(*given, "normalisation=published").normalisation.data, _convert_="all")
    plain = instantiate(composed(*given).normalisation.data, _convert_="all")
    if (method, data) in PUBLISHED_WHITENED:
        assert isinstance(source, ZCA) and source.source == plain
    elif (method, data) in PUBLISHED_BY_CIFAR10:
        cifar10 = instantiate(composed("data=cifar10").data, _convert_="all")
        assert (source.source, [*source.mean], [*source.std]) == (plain, [*cifar10.mean], [*cifar10.std])
    else:
        assert source == plain


def test_published_rows_of_mtt_are_those_of_whitened_data_and_the_same_for_both_splits(composed):
    for given, wanted in ((("ipc=5", "noe=2"), 10), (("ipc=10", "noe=1"), 10), (("ipc=1", "noe=1"), 1)):
        cfg = composed("method=mtt", "data=cifar10", "normalisation=published", *given)
        for member in instantiate(cfg.experts, _convert_="all").members:
            row = {1: (50, 2, 100, 1e-7, 0.01), 10: (30, 20, 100, 1e-5, 0.001)}[wanted]
            names = ("synthetic_steps", "max_start_epoch", "lr_images", "lr_step_size", "step_size")
            assert (member.row, tuple(member.method.keywords[n] for n in names)) == (wanted, row)


@pytest.mark.parametrize("preset", sorted(CONF.glob("preset/normalisation/*.yaml")), ids=lambda p: p.stem)
def test_a_way_to_read_data_says_first_whose_it_is(preset):
    assert preset.read_text().startswith("# "), "no word on where it comes from"


@pytest.mark.parametrize("noe", [1, 2])
@pytest.mark.parametrize("ipc", [0, -1])
def test_a_roster_refuses_experts_without_images(composed, ipc, noe):
    with pytest.raises(Exception, match=f"ipc={ipc}: ") as refused:
        experts(composed(), ipc, noe)
    assert isinstance(refused.value.__cause__, InputError)


@pytest.mark.parametrize("method", ["dm", "dsa", "idm", "idc"])
@pytest.mark.parametrize(("data", "mirrored"), [("digits", False), ("cifar10", True)])
def test_digits_are_not_mirrored(composed, method, data, mirrored):
    cfg = composed(f"method={method}", f"data={data}", "scale=small")
    trained = OmegaConf.to_yaml(cfg.protocol, resolve=True)
    assert ("augmentation.dsa.Flip" in trained) == mirrored
    # IDC distils without a mirror whatever the data (its code, `strategy`).
    distilled = OmegaConf.to_yaml(cfg.method, resolve=True)
    assert ("augmentation.dsa.Flip" in distilled) == (mirrored and method != "idc")
