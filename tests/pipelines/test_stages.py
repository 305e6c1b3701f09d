"""Each stage alone, picking up what the one before left, and roads through other options."""

import dataclasses
import json
import re

import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from moe_distill.context.run_context import Runtime
from moe_distill.data.sources.public_sets import Digits
from moe_distill.errors import InputError
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.sweeps.looking import REPORT
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling

ONE = ("students=convnet3", "seeds=1", "recipe.epochs=1")


def alone(suite, pipeline, *given):
    """Run one stage; return its headline and the kinds of artifacts it added."""
    before = suite.artifacts()
    headline = suite(f"pipeline={pipeline}", *ONE, *given)
    return headline, sorted({a.parent.name for a in suite.artifacts() if a not in before})


def test_every_stage_picks_up_what_the_one_before_left(suite):
    with pytest.raises(
        InputError, match=r"^set=idm5x2: a set distilled before; .*pipeline=distill"
    ) as missing:
        suite("pipeline=evaluate", *ONE)
    assert "\n" not in str(missing.value)
    with pytest.raises(InputError, match=re.escape("holds no stages.json")):
        suite.look(REPORT)
    assert suite.artifacts() == []
    accuracy, made = alone(suite, "pretrain")
    assert made == ["teacher"] and 0 <= accuracy <= 1
    assert alone(suite, "distill") == (None, ["set"])
    assert not (suite.out / "results.csv").exists()
    accuracy, made = alone(suite, "evaluate")
    assert made == ["result", "students"]
    (row,) = suite.rows()
    assert float(row["accuracy_last"]) == accuracy and row["roster"] == "idm5x2"
    page = (suite.out / "report.html").read_bytes()
    (suite.out / "report.html").unlink()
    suite.look(REPORT, *ONE)
    assert (suite.out / "report.html").read_bytes() == page
    whole, made = alone(suite, "full")
    assert (whole, made) == (accuracy, [])


def test_distilling_without_its_teachers_says_which_stage_is_missing(suite):
    with pytest.raises(InputError, match="pretrain"):
        suite("pipeline=distill", *ONE)
    assert suite.artifacts("set") == []


def test_a_set_is_evaluated_from_its_folder_as_from_the_store(suite):
    asked = ("method=dm", "diversity=none")  # no φ, so nothing to measure the experts' dependence by
    suite("pipeline=distill", *ONE, *asked)
    stored = suite("pipeline=evaluate", *ONE, *asked)
    (folder,) = suite.artifacts("set")
    assert "NaN" not in (folder / "manifest.json").read_text()
    (first,) = suite.rows()
    found = suite("pipeline=evaluate", f"pipeline.path={folder}", *ONE)
    (row,) = suite.rows()
    assert found == stored
    same = (
        "method",
        "roster",
        "dataset",
        "data_variant",
        "ipc",
        "noe",
        "set_fingerprint",
        "accuracy_last",
        "steps",
    )
    assert {c: row[c] for c in same} == {c: first[c] for c in same}
    assert row["set_fingerprint"] == SyntheticSet.load(folder).fingerprint()
    assert row["config_hash"] != first["config_hash"]


def test_the_upper_bound_trains_on_all_real_images(suite):
    accuracy = suite("pipeline=upper_bound", "recipe=full_data", *ONE)
    (row,) = suite.rows()
    assert (row["method"], row["images_decoded"], row["recipe"]) == ("full_dataset", "1197", "full_data")
    assert (
        row["steps"] == str(int(row["epochs"]) * -(-1197 // 256)) and float(row["accuracy_last"]) == accuracy
    )
    assert suite.artifacts("set") == []


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "mode", "size"), [("ab", "L", 12), ("abc", "RGB", 40)])
def test_a_folder_of_images_goes_the_whole_road(suite, classes, mode, size):
    root, noise = suite.home / "images", torch.Generator().manual_seed(0)
    for part, count in (("train", 6), ("test", 3)):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                shape = (size, size, 3)[: 2 if mode == "L" else 3]
                pixels = torch.randint(256, shape, generator=noise, dtype=torch.uint8).numpy()
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    accuracy = suite("data=folder", f"data.root={root}", "ipc=2", "noe=2", *ONE)
    (row,) = suite.rows()
    tested = 3 * len(classes)
    assert accuracy * tested == pytest.approx(round(accuracy * tested), abs=1e-6)
    assert (row["dataset"], row["data_variant"], row["roster"]) == ("folder", "folder-png", "idm2x2")
    (folder,) = suite.artifacts("set")
    members = SyntheticSet.load(folder).members
    channels = 1 if mode == "L" else 3
    assert [tuple(m.images.shape) for m in members] == [(2 * len(classes), channels, size, size)] * 2
    assert members[0].provenance.classes == tuple(classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "images"), [(["split=10x1"], "50"), (["split=5x2"], "50"), (["split=1x2"], "10")]
)
def test_students_of_a_set_fused_for_good_see_half_as_many_images(suite, given, images):
    suite(*ONE, "method=dm", "fusion=offline", "seed=1", *given)
    (row,) = suite.rows()
    assert (row["fusion"], row["images_decoded"]) == ("offline-seed1", images)


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        (["experts=dm_idm", "recipe=dsa"], {"roster": "dm5+idm5", "diversity": "dcor_relu"}),
        (["partition=kmeans"], {"partition": "kmeans"}),
        (["partition=gated", "partition.starts=2", "partition.steps=20"], {"partition": "gated"}),
        (["diversity/measure=mmd"], {"diversity": "mmd"}),
        (["fusion=vanilla"], {"fusion": "vanilla"}),
        (["fusion=additive", "fusion.of.per=sample"], {"fusion": "additive-cross_expert-sample"}),
        (["fusion=sometimes", "mixup_alpha=0.4"], {"fusion": "0.5of-cross_expert-alpha0.4"}),
        (["diversity=none", "partition=none", "init=noise"], {"diversity": "none", "partition": "none"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.slow
def test_other_options_go_the_whole_road(suite, given, columns):
    accuracy = suite(*ONE, *given)
    (row,) = suite.rows()
    assert {c: row[c] for c in columns} == columns and 0 <= accuracy <= 1
    assert (row["ipc"], row["noe"], row["images_decoded"]) == ("5", "2", "100")
    needs_teachers = given[0] != "diversity=none"
    assert len(suite.artifacts("teacher")) == int(needs_teachers)
    manifest = json.loads((suite.artifacts("set")[0] / "manifest.json").read_text())
    assert manifest["iterations"] == 3


@pytest.mark.slow
def test_equal_numbers_read_otherwise_are_another_set(suite, tmp_path):
    """A file that is imported again as tiles must not find the accuracies of the plain images."""
    suite("pipeline=distill", "method=dm", "diversity=none", *ONE)
    (folder,) = suite.artifacts("set")
    seen = {}
    for factor in (1, 2):
        place = tmp_path / f"read_{factor}"
        place.mkdir()
        for one in SyntheticSet.load(folder).members:
            about = dataclasses.replace(one.provenance, tiling=Tiling(factor), settings={})
            SyntheticSet(one.images.detach(), about).save(place / f"expert_{about.expert}.safetensors")
        suite("pipeline=evaluate", f"pipeline.path={place}", *ONE)
        (seen[factor],) = suite.rows()
    prints = [seen[factor]["set_fingerprint"].split("-") for factor in (1, 2)]
    assert prints[0][0] == prints[1][0] and prints[0][1] != prints[1][1]
    assert [int(seen[f]["images_decoded"]) for f in (1, 2)] == [100, 400]


@pytest.mark.parametrize(
    "recipe", ["dcbench_cifar", "dcbench_imagenet", "dcbench_autoaug", "dcbench_randaug"]
)
@pytest.mark.slow
def test_dcbench_trains_on_augmented_pixels(suite, recipe):
    found = {}
    for extra in ([], ["recipe.pixels=null"]):
        suite(
            *ONE,
            "method=random",
            "split=10x1",
            f"recipe={recipe}",
            "recipe.epochs=30",
            "recipe.lr=0.1",
            *extra,
        )
        (row,) = suite.rows()
        found[row["recipe_key"]] = row["accuracy_last"]
    assert len(set(found.values())) == 2


def test_a_result_is_of_its_test_images_and_of_the_students_name(suite):
    protocol = instantiate(suite.compose("students=convnet3").protocol)
    protocol = dataclasses.replace(
        protocol, students={"a": protocol.students["convnet3"], "b": protocol.students["convnet3"]}
    )
    _, test = Digits().load(suite.home)
    fewer = test.subset(torch.arange(50))
    keys = {
        key(protocol.settings({"set": 1}, images, name)) for images in (test, fewer) for name in ("a", "b")
    }
    assert len(keys) == 4


@pytest.mark.slow
def test_what_another_process_made_meanwhile_is_found_and_no_cost_of_this_run(suite, monkeypatch):
    same = ("method=dm", "students=convnet3", "seeds=1", "recipe.epochs=1", "baselines=none")
    suite(*same)
    find, looked, spent = Store.find, set(), Runtime.record_cost

    def late(self, kind, settings):
        first = key([kind, settings]) not in looked
        looked.add(key([kind, settings]))
        return None if first else find(self, kind, settings)

    told = []
    monkeypatch.setattr(Store, "find", late)
    monkeypatch.setattr(Runtime, "record_cost", lambda *given: told.append(given[1:]) or spent(*given))
    suite(*same)
    assert {stage for stage, *_ in told} == {"pretrain", "distill", "evaluate"} and all(
        found for *_, found in told
    )
