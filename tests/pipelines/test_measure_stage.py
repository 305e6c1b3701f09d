"""How much experts depend on one another: complete rows, computed once, equal to naive values of what is
stored."""

import csv
import itertools
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate

from moe_distill.config.folders import conf_dir
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.pipelines.measure import COLUMNS, _computable
from moe_distill.results.rank_correlation import rank_correlation
from moe_distill.store.store import Store
from moe_distill.synthetic.synthetic_set import SyntheticSet

pytestmark = pytest.mark.slow

FOUR = ("convnet3", "vgg11", "resnet18", "alexnet")
MEASURES = sorted(
    {p.stem for p in (Path(conf_dir()) / "diversity" / "measure").glob("*.yaml")} | {"dcor2_unbiased"}
)
SET = ("method=dm", "ipc=3", "noe=3", "features.networks=2")
ASKED = ("pipeline=measure", "pipeline.draws=3", *SET)
ONE = ("students@pipeline.judges=convnet3",)
ALIKE = ("method=random", "diversity=none", *ONE)


def table(folder, name="measures.csv"):
    """Return the rows of a table."""
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def value(rows, architecture, measure, column="value"):
    """Return a number of a table."""
    (row,) = (r for r in rows if (r["architecture"], r["measure"]) == (architecture, measure))
    return float(row[column])


@pytest.fixture(scope="module")
def stage(shared_suite):
    """A set of three experts, distilled and measured by one command from an empty store."""
    shared_suite(*ASKED)
    (folder,) = shared_suite.artifacts("set")
    rows, made = table(shared_suite.out), shared_suite.artifacts()
    return SimpleNamespace(suite=shared_suite, rows=rows, folder=folder, made=made)


def networks_of(suite, architecture):
    """Return the judges of one architecture out of the store, and the real training images."""
    cfg = suite.compose(*ASKED)
    plan = instantiate(cfg.plan, _convert_="all")
    train, _ = plan.data.load(suite.store / "data")
    pool = replace(plan.features, network=instantiate(cfg.students[architecture], _convert_="all"))
    return pool.load(Store(suite.store), train), train


def naive_dcor2(f, g, unbiased):
    """Return dCor² of lists of rows by loops: biased of unit rows, or bias-corrected of rows as they are."""

    def centred(x):
        n = len(x)
        if not unbiased:
            x = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in x]
        d = [[math.dist(a, b) for b in x] for a in x]
        row, less = [sum(r) / (n - 2 if unbiased else n) for r in d], (n - 1) * (n - 2) if unbiased else n * n
        total = sum(map(sum, d)) / less
        return [
            0 if unbiased and i == j else d[i][j] - row[i] - row[j] + total
            for i, j in itertools.product(range(n), repeat=2)
        ]

    a, b = centred(f), centred(g)
    product = [sum(p * q for p, q in zip(*pair, strict=True)) for pair in ((a, b), (a, a), (b, b))]
    return product[0] / math.sqrt(product[1] * product[2])


def naive_energy(f, g):
    """Return minus the energy distance of lists of rows by loops."""

    def mean(x, y):
        return statistics.mean(math.dist(a, b) for a in x for b in y)

    return mean(f, f) + mean(g, g) - 2 * mean(f, g)


def naive_ncl(f, g):
    """Return minus half the squared distance of the means of lists of rows."""
    return (
        -0.5 * math.dist(*([statistics.mean(column) for column in zip(*x, strict=True)] for x in (f, g))) ** 2
    )


NAIVE = {
    "ncl": naive_ncl,
    "dcor": lambda f, g: naive_dcor2(f, g, unbiased=False),
    "dcor2_unbiased": lambda f, g: naive_dcor2(f, g, unbiased=True),
    "energy": naive_energy,
}


def test_there_is_a_row_for_every_architecture_and_measure(stage):
    assert [(r["architecture"], r["measure"]) for r in stage.rows] == [
        (a, m) for a in FOUR for m in dict.fromkeys(r["measure"] for r in stage.rows)
    ]
    assert sorted({r["measure"] for r in stage.rows}) == MEASURES and tuple(stage.rows[0]) == COLUMNS
    said = {"experiment": "single", "scale": "smoke", "roster": "dm3x3", "method": "dm", "dataset": "digits"}
    said |= {"ipc": "3", "noe": "3", "distill_seed": "0", "networks": "2", "network_seed": "0", "draws": "3"}
    said |= {"set_fingerprint": SyntheticSet.load(stage.folder).fingerprint(), "width": "0.0625"}
    said |= {"diversity": "dcor_relu"}
    assert all({name: row[name] for name in said} == said for row in stage.rows)
    assert all(math.isfinite(float(r[c])) for r in stage.rows for c in ("value", "real_mean", "real_sd"))
    assert all(0 < float(r["network_accuracy"]) < 1 for r in stage.rows)
    assert len({r["config_hash"] for r in stage.rows}) == len(stage.rows)


def test_the_networks_are_shared_with_phi_and_everything_is_found_again(stage):
    assert len(stage.suite.artifacts("teacher")) == 4 * 2  # φ's two are the first judges
    stage.suite(*ASKED)
    assert table(stage.suite.out) == stage.rows and stage.suite.artifacts() == stage.made


def test_through_phi_the_unbiased_value_is_the_one_told_after_distilling(stage):
    told = json.loads((stage.folder / "manifest.json").read_text())["dcor2_unbiased"]
    assert value(stage.rows, "convnet3", "dcor2_unbiased") == pytest.approx(told, abs=1e-5)


@pytest.mark.parametrize("measure", NAIVE)
def test_values_are_those_of_the_stored_set_and_the_stored_networks(stage, measure):
    networks, _ = networks_of(stage.suite, "vgg11")
    members = SyntheticSet.load(stage.folder).members
    found = []
    for network in networks:
        with torch.no_grad():
            features = [network.embed(m.standardised()).double().tolist() for m in members]
        found += [NAIVE[measure](f, g) for f, g in itertools.combinations(features, 2)]
    assert len(found) == 2 * 3
    assert value(stage.rows, "vgg11", measure) == pytest.approx(statistics.mean(found), rel=1e-3, abs=1e-5)


def test_real_images_are_dealt_out_at_random_without_repetition_as_many_as_the_set_has(stage, monkeypatch):
    from moe_distill.evaluation import measurements

    dealt, deal = [], measurements._random_parts
    monkeypatch.setattr(measurements, "_random_parts", lambda *given: dealt.append(deal(*given)) or dealt[-1])
    seed = "pipeline.seed=7"  # other judges, so that nothing is found
    stage.suite(*ASKED, *ONE, seed, "pipeline.networks=1", "pipeline.draws=4")
    rows = table(stage.suite.out)
    _, train = networks_of(stage.suite, "convnet3")
    known = {x.numpy().tobytes() for x in train.normalised(train.images_NCHW)}
    seen = []
    for parts in dealt:
        assert [labels.tolist() for _, labels in parts] == [[c for c in range(10) for _ in range(3)]] * 3
        seen.append([x.numpy().tobytes() for images, _ in parts for x in images])
        assert len(set(seen[-1])) == 90 and set(seen[-1]) < known
    assert len({frozenset(s) for s in seen}) == 4
    stored = [
        json.loads((f / "values.json").read_text())["dcor"] for f in stage.suite.artifacts("measure_real")
    ]
    (values,) = (v for v in stored if len(v) == 4)
    assert value(rows, "convnet3", "dcor", "real_mean") == pytest.approx(statistics.mean(values), abs=1e-12)
    assert value(rows, "convnet3", "dcor", "real_sd") == pytest.approx(statistics.stdev(values), abs=1e-12)


def test_random_real_images_are_like_the_draws_and_equal_experts_are_not(stage):
    suite = stage.suite
    suite(*ASKED, *ALIKE)
    independent = table(suite.out)
    (member, *_) = SyntheticSet.load(stage.folder).members
    folder = suite.home / "equal"
    folder.mkdir()
    settings = {**member.provenance.settings, "roster": [{}, {}]}
    for number in range(2):
        provenance = replace(member.provenance, expert=number, settings=settings)
        SyntheticSet(member.images.detach(), provenance).save(folder / f"expert_{number}.safetensors")
    suite(*ASKED, *ONE, f"pipeline.path={folder}")
    equal = table(suite.out)
    assert {r["noe"] for r in equal} == {"2"} and {r["distill_seed"] for r in equal} == {""}
    for name in ("dcor", "dcor_unbiased", "dcor2_unbiased"):
        mean, sd = (value(equal, "convnet3", name, c) for c in ("real_mean", "real_sd"))
        assert value(equal, "convnet3", name) == pytest.approx(1, abs=1e-4) and mean + 2 * sd < 1
        mean, sd = (value(independent, "convnet3", name, c) for c in ("real_mean", "real_sd"))
        assert abs(value(independent, "convnet3", name) - mean) < 6 * sd + 0.05


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["noe=1"], "noe=1: a set of at least 2 experts"),
        (["pipeline.draws=-1"], "pipeline.draws=-1: a whole number of at least 0"),
        (
            ["ipc=103"],
            "pipeline.draws=3: 0, or at least 1 where a class has 306 real images to draw",
        ),
        (["pipeline.path={one}"], "pipeline.path="),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_made(stage, given, said):
    one, before = stage.folder / "expert_0.safetensors", stage.suite.artifacts()
    with pytest.raises(InputError) as refused:
        stage.suite(*ASKED, *ONE, *(g.format(one=one) for g in given), "seed=5")
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
    assert stage.suite.artifacts() == before


def test_without_draws_there_is_nothing_to_compare_with(stage):
    stage.suite(*ASKED, *ONE, "pipeline.draws=0")
    rows = table(stage.suite.out)
    assert {(r["real_mean"], r["real_sd"]) for r in rows} == {("", "")}
    assert [r["value"] for r in rows] == [r["value"] for r in stage.rows if r["architecture"] == "convnet3"]


def test_the_jobs_of_a_sweep_share_a_table_and_its_agreement(stage):
    sweep = stage.suite.home / "sweep"
    sweep.mkdir()
    (sweep / "multirun.yaml").touch()
    jobs = [("noe=2", f"seed={seed}") for seed in range(4)] + [("noe=3",), ("noe=2", "method=first")]
    for job, given in enumerate(jobs):
        stage.suite(*ASKED, *ALIKE, *given, f"paths.output={sweep}/job{job}")
    rows = table(sweep)
    assert rows == [row for job in range(len(jobs)) for row in table(sweep / f"job{job}")]
    told = table(sweep, "agreement.csv")
    assert [(m, n) for m, n, *_ in dict.fromkeys((r["method"], r["noe"], r["sets"]) for r in told)] == [
        *(("random", n) for n in "23"),
        ("first", "2"),
    ]
    found = [r for r in told if (r["method"], r["noe"]) == ("random", "2")]
    assert len(found) == math.comb(len(MEASURES), 2) and {r["sets"] for r in found} == {"4"}
    columns = [
        [float(r["value"]) for r in rows if (r["measure"], r["noe"], r["method"]) == (m, "2", "random")]
        for m in ("dcor", "hsic")
    ]
    (row,) = (r for r in found if {r["first"], r["second"]} == {"dcor", "hsic"})
    assert float(row["rho"]) == pytest.approx(rank_correlation(*columns).rho)


def test_measures_that_need_more_images_than_the_set_has_are_left_out(shared_suite):
    """Two classes at one image: the bias-corrected measures, which need four, ended in a traceback."""
    cfg = shared_suite.compose(*ASKED)
    measures = instantiate(cfg.pipeline.measures, _convert_="all")
    pixels = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    train = RealSet(pixels, torch.tensor([0, 0, 1, 1]), ("a", "b"), (0.5,), (0.5,), "n", "v")
    left = measures.keys() - _computable(measures, [1, 1], train).keys()
    assert (
        left
        == {name for name, measure in measures.items() if getattr(measure, "centring", "") == "u"}
        != set()
    )
    assert _computable(measures, [2, 3], train) == measures
    with pytest.raises(
        InputError, match=r"^pipeline\.measures=.*at least 4 images of each expert.*; here are 2$"
    ):
        _computable({name: measures[name] for name in left}, [3, 1], train)
