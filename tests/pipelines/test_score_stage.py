"""The scores of a set: what is trained and judged on what, what is recorded, and that nothing is done
twice."""

import csv
import json
import math
import statistics
from types import SimpleNamespace

import pytest
import torch
from conftest_scored import ASKED, RATES, SET, SIZES, real_data, scored, watching

from moe_distill.errors import InputError
from moe_distill.evaluation.ddranking_trainings import TRAININGS, Search
from moe_distill.synthetic.synthetic_set import SyntheticSet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(shared_suite):
    """A set, scored once from an empty store."""
    shared_suite("pipeline=distill", *SET, *SIZES)
    headline, row, seen = scored(shared_suite, *SET)
    results = shared_suite.rows()
    artifacts = shared_suite.artifacts("result")
    return SimpleNamespace(
        suite=shared_suite, headline=headline, row=row, seen=seen, results=results, artifacts=artifacts
    )


def test_the_row_follows_from_its_own_accuracies(stage):
    mean = {training: float(stage.row[f"{training}_mean"]) for training in TRAININGS}
    hlr, ior = mean["real_hard"] - mean["syn_hard"], mean["syn_any"] - mean["rnd_any"]
    alpha, beta = 0.5 * ior - 0.5 * hlr, 0.5 * ior + 0.5 * (mean["syn_plain"] - mean["rnd_plain"])
    lrs, ars = ((math.exp(x) - math.exp(-1)) / (math.exp(1) - math.exp(-1)) for x in (alpha, beta))
    expected = {"hlr": hlr, "ior": ior, "alpha": alpha, "lrs": lrs, "beta": beta, "ars": ars}
    assert {name: float(stage.row[name]) for name in expected} == pytest.approx(expected, abs=1e-12)
    assert stage.headline == float(stage.row["lrs"])
    assert len(set(mean.values())) > 3  # or the row could mistake one accuracy for another


def test_the_accuracies_are_those_of_the_students_behind_them(stage):
    def of(method, recipe):
        found = [r for r in stage.results if (r["method"], r["recipe"]) == (method, recipe)]
        values = [float(r["accuracy_last"]) for r in found]
        assert sorted(r["seed"] for r in found) == ["0", "1"]
        return [statistics.mean(values), statistics.stdev(values)]

    behind = {
        "syn_any": ("dm", "dsa"),
        "rnd_any": ("random", "dsa"),
        "syn_hard": ("dm", "dsa"),  # whose labels are hard anyway
        "syn_plain": ("dm", "dsa-plain"),
        "rnd_plain": ("random", "dsa-plain"),
        "real_hard": ("full_dataset", "teacher"),
    }
    for training, which in behind.items():
        told = [float(stage.row[f"{training}_{what}"]) for what in ("mean", "std")]
        assert told == pytest.approx(of(*which), abs=1e-12), training


def test_the_row_says_how_everything_was_trained(stage):
    row = stage.row
    said = {
        **{
            "roster": "dm2x2",
            "architecture": "convnet3",
            "students": "2",
            "select_on": "held_out",
            "held_out": "0.1",
        },
        **{
            "lrs_tried": "0.001 0.02",
            "fusion": "cross_expert",
            "augmentation": "color+crop+cutout+scale+rotate",
        },
        **{
            "syn_any_epochs": "5",
            "syn_any_steps": "10",
            "syn_any_batch_size": "20",
            "syn_any_labels": "hard",
        },
        **{"real_hard_epochs": "1", "real_hard_steps": "12", "real_hard_batch_size": "100", "teacher": ""},
        **{"w": "0.5", "gamma": "0.5"},
    }
    assert {name: row[name] for name in said} == said
    train, _ = real_data(stage.suite)
    assert row["normalisation"] == f"standardised [[{train.mean[0]}], [{train.std[0]}]]"
    (folder,) = stage.suite.artifacts("set")
    assert row["set_fingerprint"] == SyntheticSet.load(folder).fingerprint()
    assert row["commit"] and len(row["config_hash"]) == 32


def test_a_second_run_trains_nothing_and_finds_the_same(stage):
    headline, row, seen = scored(stage.suite, *SET)
    assert seen == [] and (headline, row) == (stage.headline, stage.row)
    assert stage.suite.artifacts("result") == stage.artifacts


def test_the_test_set_judges_the_final_trainings_and_no_choice(stage):
    train, test = real_data(stage.suite)
    _, judge = Search(RATES, "held_out", 0.1).split(train)
    finals = [t for t in stage.seen if test.fingerprint in t.tested]
    trials = [t for t in stage.seen if t not in finals]
    # the set as it is and plainly, all real images, and for each student random ones as they are and plainly
    assert (len(finals), len(trials)) == (7, 2 * 7)
    assert all(t.tested == [test.fingerprint] for t in finals)
    assert all(t.tested == [judge.fingerprint] for t in trials)
    chosen = {float(stage.row[f"{training}_lr"]) for training in TRAININGS}
    assert {t.lr for t in finals} == chosen and {t.lr for t in trials} == set(RATES)


def test_held_out_images_are_never_trained_on_while_a_rate_is_chosen(stage):
    train, test = real_data(stage.suite)
    kept, judge = Search(RATES, "held_out", 0.1).split(train)
    held = {x.numpy().tobytes() for x in train.normalised(judge.images_NCHW)}
    trials = [t for t in stage.seen if test.fingerprint not in t.tested]
    finals = [t for t in stage.seen if test.fingerprint in t.tested]
    assert all(held.isdisjoint(t.images) for t in trials)
    assert {len(t.images) for t in trials} == {40, len(kept)}
    (real,) = (t for t in finals if len(t.images) > 40)
    assert held < set(real.images) and len(real.images) == len(train)


def test_the_recorded_rate_is_the_one_the_held_out_images_prefer(stage):
    judged = {}
    for folder in stage.artifacts:
        settings = json.loads((folder / "manifest.json").read_text())["settings"]
        row = json.loads((folder / "row.json").read_text())
        if "judged_by" in settings["set"]:
            rates = judged.setdefault((row["method"], row["recipe"]), {})
            rates.setdefault(settings["recipe"]["lr"], []).append(row["accuracy_last"])
    behind = {
        "syn_any": ("dm", "dsa"),
        "rnd_plain": ("random", "dsa-plain"),
        "real_hard": ("full_dataset", "teacher"),
    }
    for training, which in behind.items():
        means = {rate: statistics.mean(values) for rate, values in judged[which].items()}
        assert set(means) == set(RATES)
        assert float(stage.row[f"{training}_lr"]) == max(RATES, key=means.get)
        assert stage.row[f"{training}_lr_from"] == "held_out"
    assert {float(stage.row[f"{training}_lr"]) for training in behind} == set(RATES)  # it is no constant


def test_plain_trainings_change_no_image(stage):
    for t in stage.seen:
        plain = t.recipe.name in ("dsa-plain", "teacher")
        assert plain == (t.recipe.augment is None) == (t.fusion.describe_for(2) == "none")
    assert {t.recipe.name for t in stage.seen} == {"dsa", "dsa-plain", "teacher"}


def test_a_set_given_by_its_path_scores_as_from_the_store(stage):
    (folder,) = stage.suite.artifacts("set")
    headline, row, seen = scored(stage.suite, f"pipeline.path={folder}")
    assert headline == stage.headline
    assert {len(t.images) for t in seen} == {40}  # random and all real images were found
    same = [
        c
        for c in row
        if c.startswith(TRAININGS) or c in ("lrs", "ars", "set_fingerprint", "method", "roster")
    ]
    assert len(same) > 40 and {c: row[c] for c in same} == {c: stage.row[c] for c in same}
    assert row["config_hash"] != stage.row["config_hash"]


def test_a_single_rate_is_taken_as_it_is(stage):
    _, row, seen = scored(stage.suite, *SET, "pipeline.lrs=[0.01]", "seeds=1")
    assert len(seen) == 5 and {t.lr for t in seen} == {0.01}
    assert {row[f"{t}_lr_from"] for t in TRAININGS} == {"given"} == {row["select_on"]}
    assert {row[f"{t}_std"] for t in TRAININGS} == {""} == {row["held_out"]}


def test_other_students_have_other_random_images_and_another_key(stage):
    one = ("pipeline.lrs=[0.0100000001]", "seeds=1")
    both = [scored(stage.suite, *SET, *one, *more) for more in ((), ("+protocol.first=1",))]
    assert both[0][1]["config_hash"] != both[1][1]["config_hash"]
    assert [row["lrs_tried"] for _, row, _ in both] == ["0.0100000001"] * 2
    drawn = [{tuple(sorted(t.images)) for t in seen} for _, _, seen in both]
    assert len(drawn[0] & drawn[1]) == 2  # the set's own and all real ones


def test_the_published_selection_takes_what_is_best_on_the_test_set(stage):
    _, row, seen = scored(stage.suite, *SET, "pipeline.select_on=test")
    _, test = real_data(stage.suite)
    assert (
        len(seen) == 7
    )  # one of the two rates was trained before, and the best of them is the final training
    assert all(t.tested == [test.fingerprint] for t in seen)
    assert {row[f"{t}_lr_from"] for t in TRAININGS} == {"test"}
    for training in TRAININGS:
        assert float(row[f"{training}_mean"]) >= float(stage.row[f"{training}_mean"])


def test_learned_labels_and_step_sizes_belong_to_the_sets_own_recipe_alone(stage):
    (folder,) = stage.suite.artifacts("set")
    first = SyntheticSet.load(folder).members[0]
    logits = 3 * torch.eye(10).repeat_interleave(2, 0)
    path = stage.suite.home / "learned.safetensors"
    SyntheticSet(first.images.detach(), first.provenance, torch.tensor(0.02), logits).save(path)
    _, row, seen = scored(stage.suite, f"pipeline.path={path}", "seeds=1", "recipe=mtt")
    own, hard = (
        [t for t in seen if (t.pool.targets_MC is not None) == learned and len(t.images) == 20]
        for learned in (True, False)
    )
    assert [t.lr for t in own] == [pytest.approx(0.02)] * 2  # with and without augmentation, and no search
    assert {t.lr for t in hard} <= set(RATES)
    for training in ("syn_any", "syn_plain"):
        assert (row[f"{training}_labels"], row[f"{training}_lr_from"]) == ("soft", "learned")
        assert float(row[f"{training}_lr"]) == pytest.approx(0.02)
    for training in ("syn_hard", "rnd_any", "rnd_plain", "real_hard"):
        assert (row[f"{training}_labels"], row[f"{training}_lr_from"]) == ("hard", "held_out")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("pipeline.w=50", "pipeline.w=50: a number of at least 0 and at most 1"),
        ("pipeline.held_out=0.99", "pipeline.held_out=0.99: a share that leaves 4 images of each class"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_trained(stage, given, said):
    with watching() as seen, pytest.raises(InputError) as refused:
        stage.suite(*ASKED, *SET, given)
    assert str(refused.value).startswith(said) and seen == []


def test_the_jobs_of_a_sweep_share_a_table(stage):
    sweep = stage.suite.home / "sweep"
    sweep.mkdir()
    (sweep / "multirun.yaml").touch()
    for job, weight in enumerate((0.5, 0.25)):
        stage.suite(*ASKED, *SET, f"pipeline.w={weight}", f"paths.output={sweep}/job{job}")
    with (sweep / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["w"] for r in rows] == ["0.5", "0.25"] and rows[0] == stage.row
    hlr, ior = float(rows[1]["hlr"]), float(rows[1]["ior"])
    assert float(rows[1]["alpha"]) == pytest.approx(0.25 * ior - 0.75 * hlr, abs=1e-12)
