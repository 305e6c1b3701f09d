"""Calls from Python leave and find the artifacts of the command line, and take objects in place of names."""

import csv
import functools
import json

import pytest
import torch
from users_parts import MeanGap, Shrinking, TinyNet, faded

import moe_distill as md
from moe_distill.api.keywords import settings_of


def made(store, kind):
    """Return the keys of a kind of artifact."""
    return {path.name for path in (store / kind).glob("*")}


def test_what_a_notebook_makes_the_command_line_finds_and_the_other_way_round(
    digits, usual, called, tmp_path
):
    train, test = digits
    store = tmp_path / "store"
    synthetic = md.distill(train, method="dm", ipc=2, noe=2, diversity="dcor_relu", seed=3, **usual)
    results = md.evaluate(synthetic, test, students=["convnet3", "mlp"], seeds=2)
    before = made(store, "set"), made(store, "result"), made(store, "teacher")
    assert [len(keys) for keys in before] == [1, 4, 1]
    line = (
        "method=dm",
        "ipc=2",
        "noe=2",
        "diversity=dcor_relu",
        "seed=3",
        "students=[convnet3,mlp]",
        "seeds=2",
    )
    assert called(*line, "name=same")[0] == 0
    assert (made(store, "set"), made(store, "result"), made(store, "teacher")) == before
    (tmp_path / "runs" / "same" / "results.csv").rename(tmp_path / "theirs.csv")
    with (tmp_path / "theirs.csv").open() as file:
        theirs = {row["config_hash"]: row["accuracy_last"] for row in csv.DictReader(file)}
    assert theirs == {row["config_hash"]: str(row["accuracy_last"]) for row in results.rows}
    # The other way round: a set of the command line is not made again.
    assert called("method=random", "split=4x1", "pipeline=full", "students=[mlp]", "seeds=2")[0] == 0
    before = made(store, "set"), made(store, "result")
    md.evaluate(md.random_images(train, 4, **usual), test, students="mlp", seeds=2)
    assert (made(store, "set"), made(store, "result")) == before


def test_options_of_matching_are_keywords(digits, usual, called, tmp_path):
    train, _ = digits
    options = {"perturbation": "gaussian", "real_sampling": "kmeans", "schedule": "linear"}
    alike = {"method": "dm", "ipc": 2, "noe": 2, "diversity": "none"}
    sets = [md.distill(train, **alike, **more, **usual) for more in ({}, options)]
    assert sets[0].key != sets[1].key
    assert not torch.equal(*(one.members[0].images for one in sets))
    before = made(tmp_path / "store", "set")
    words = [f"{name}={word}" for name, word in {**alike, **options}.items()]
    assert called(*words, "pipeline=distill")[0] == 0 and made(tmp_path / "store", "set") == before


def test_parts_of_ones_own_in_place_of_names(digits, usual):
    train, test = digits
    synthetic = md.distill(
        train,
        method=functools.partial(Shrinking, iterations=3),
        init=faded,
        ipc=2,
        noe=2,
        network=TinyNet,
        diversity=MeanGap(),
        optimizer=torch.optim.Adam,
        options={"method.lr": 0.25},
        **usual,
    )
    (member, _), network = synthetic.settings["roster"], synthetic.settings["network"]
    assert member["method"] == {
        "_target_": "users_parts.Shrinking",
        "init": {"_target_": "users_parts.faded"},
        "iterations": 3,
        "lr": 0.25,
    }
    tiny = {"_target_": "users_parts.TinyNet"}
    assert network == {"_target_": "ModuleNetwork", "builder": tiny, "numerics": "exact"}
    assert synthetic.settings["diversity"]["measure"] == {"_target_": "users_parts.MeanGap"}
    assert synthetic.settings["optimizer"] == {"_target_": "torch.Adam"}
    # Each image starts at half contrast and shrinks; of Adam's three steps each is about the learning rate.
    images, _ = synthetic.members[0].decode()
    brightest = train.at(torch.arange(len(train)))[0].max()
    assert images.max() <= brightest / 2
    results = md.evaluate(synthetic, test, students={"mine": TinyNet, "wide": partial_of_ours()}, seeds=1)
    assert [row["architecture"] for row in results.rows] == ["mine", "wide"]


def partial_of_ours():
    return functools.partial(md.models.ConvNet, depth=2, width=0.1, norm="instance")


def test_results_taken_as_a_model_decide_students_recipe_and_seeds(digits, usual):
    train, test = digits
    chosen = {"students": ["mlp"], "recipe": "dc", "seeds": 2, "options": {"recipe.epochs": 3}}
    first = md.evaluate(md.random_images(train, 2, **usual), test, **chosen)
    second = md.evaluate(md.coreset(train, 2, "first", **usual), test, like=first)
    for column in ("architecture", "recipe", "recipe_key", "epochs", "seed"):
        assert [row[column] for row in first.rows] == [row[column] for row in second.rows]
    with pytest.raises(md.InputError, match=r"^like=Results: results of one set, as md.evaluate returned"):
        md.evaluate(md.random_images(train, 2, **usual), test, like=first + second)


@pytest.mark.parametrize("keywords", [{"seeds": 3}, {"options": {"recipe.epochs": 5}}, {"scale": "paper"}])
def test_what_results_decide_cannot_be_set_beside_them(digits, usual, keywords):
    train, test = digits
    random = md.random_images(train, 1, **usual)
    first = md.evaluate(random, test, students="mlp", seeds=1)
    ((name, _),) = settings_of(keywords).items()
    with pytest.raises(md.InputError, match=rf"^{name}=\w+: leave it out beside like="):
        md.evaluate(random, test, like=first, **keywords)


OTHER_SETS = [{"ipc": 3}, {"split": "1x2"}, {"scale": "small"}, {"options": {"method.lr": 0.5}}, {"seed": 1}]


@pytest.mark.parametrize("keywords", OTHER_SETS)
def test_keywords_of_another_set_are_refused(digits, usual, tmp_path, keywords):
    train, test = digits
    synthetic = md.distill(train, method="dm", ipc=2, noe=1, **usual)
    ((name, _),) = settings_of(keywords).items()
    with pytest.raises(md.InputError, match=rf"^{name}=\S+: leave it out: with it, it would be another set"):
        md.evaluate(synthetic, test, students="mlp", **keywords)
    assert not made(tmp_path / "store", "result")


def test_a_set_is_evaluated_in_another_store_too(digits, usual, tmp_path):
    train, test = digits
    synthetic = md.random_images(train, 2, **usual)
    elsewhere = str(tmp_path / "elsewhere")
    (row,) = md.evaluate(synthetic, test, students="mlp", seeds=1, store=elsewhere).rows
    assert row["set_fingerprint"] == synthetic.fingerprint()
    assert made(tmp_path / "elsewhere", "result") and not made(tmp_path / "store", "result")


def test_a_set_that_was_read_or_changed_is_evaluated_as_it_is(digits, usual, tmp_path):
    train, test = digits
    made_now = md.random_images(train, 2, **usual)
    common = {"students": "mlp", "seeds": 1, **usual}
    read = md.SyntheticSet.load(made_now.path)
    of_read = md.evaluate(read, test, **common)
    assert of_read.rows[0]["set_fingerprint"] == made_now.fingerprint()
    again = md.SyntheticSet.load(made_now.path)
    with torch.no_grad():
        again.members[0].images.zero_()
    of_changed = md.evaluate(again, test, **common)
    assert of_changed.rows[0]["set_fingerprint"] == again.fingerprint() != made_now.fingerprint()
    with torch.no_grad():
        made_now.members[0].images.zero_()
    assert md.evaluate(made_now, test, **common).rows[0]["set_fingerprint"] == again.fingerprint()
    both = md.SyntheticSet.union([made_now, again])
    assert [row["noe"] for row in md.evaluate(both, test, **common).rows] == [2]


def test_a_row_of_a_set_at_a_path_has_the_key_of_the_command_line(digits, usual, called, tmp_path):
    train, test = digits
    folder = md.random_images(train, 2, **usual).path
    results = md.evaluate(md.SyntheticSet.load(folder), test, students="mlp", seeds=1, **usual)
    line = ("pipeline=evaluate", f"pipeline.path={folder}", "method=random", "ipc=2", "noe=1")
    assert called(*line, "students=[mlp]", "seeds=1")[0] == 0
    with (tmp_path / "runs" / "single" / "results.csv").open() as file:
        assert [row["config_hash"] for row in csv.DictReader(file)] == [results.rows[0]["config_hash"]]


def test_scores_and_probes(digits, usual):
    train, test = digits
    synthetic = md.random_images(train, 2, **usual)
    scored = md.score(synthetic, test, students="mlp", seeds=1, options={"pipeline.lrs": [0.01]})
    probed = md.probe(synthetic, test, students="mlp", seeds=2)
    assert [0 < row["lrs"] < 1 for row in scored.rows] == [True]
    assert all(0 < row["accuracy"] <= 1 for row in probed.rows) and len(probed.rows) == 2
    assert str(probed).splitlines()[1].split() == ["architecture", "seed", "accuracy", "accuracy_untrained"]
    with pytest.raises(md.InputError, match=r"^train=None: the real training images"):
        md.score(md.SyntheticSet.load(synthetic.path), test, **usual)


def test_networks_tested_on_nothing_have_no_accuracy(digits, usual, tmp_path):
    train, test = digits
    md.distill(train, method="dm", ipc=1, noe=2, **usual)
    (manifest,) = (tmp_path / "store" / "teacher").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["accuracy"] is None
    md.distill(train, test=test, method="dm", ipc=1, noe=2, **{**usual, "store": str(tmp_path / "tested")})
    (manifest,) = (tmp_path / "tested" / "teacher").glob("*/manifest.json")
    assert 0 <= json.loads(manifest.read_text())["accuracy"] <= 1


def test_nothing_is_printed_unless_asked(digits, usual, capfd, caplog):
    train, _ = digits
    with caplog.at_level("INFO", logger="moe_distill"):
        md.distill(train, method="dm", ipc=3, noe=1, **usual)
    assert capfd.readouterr() == ("", "")
    assert any("from its row for ipc" in record.message for record in caplog.records)
    md.distill(train, method="dm", ipc=4, noe=1, **{**usual, "progress": True})
    out, err = capfd.readouterr()
    # In a log file progress is lines, not drawings over one another.
    assert out == "" and err.startswith("distill dm4x1: 0 of 3, ") and "\r" not in err


def test_test_images_of_another_kind_are_named(digits, usual):
    train, _ = digits
    colour = md.RealSet.from_tensors(torch.zeros(10, 3, 8, 8), range(10), train.classes)
    with pytest.raises(md.InputError, match=r"^test=channels 3: the set's channels, 1"):
        md.evaluate(md.random_images(train, 1, **usual), colour)


def test_a_program_with_a_hydra_of_its_own_keeps_it(digits, usual, tmp_path):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "mine.yaml").write_text("lr: 3\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        md.random_images(digits[0], 1, **usual)
        assert GlobalHydra.instance().is_initialized() and compose("mine").lr == 3


def test_digits_of_another_library_are_not_mirrored(usual):
    pixels = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small = {name: value for name, value in usual.items() if name != "scale"}
    settings = {"method.iterations": 1}
    for name, mirrored in (("mnist", False), ("fashionmnist", True)):
        train = md.RealSet.from_tensors(pixels, torch.arange(20) % 10, name=name)
        made_now = md.distill(train, method="dm", ipc=1, noe=1, options=settings, **small)
        assert ("Flip" in json.dumps(made_now.settings)) == mirrored


@pytest.mark.parametrize(
    ("argument", "message"), [("synthetic", "int: a set that"), ("test", "int: a RealSet")]
)
def test_what_is_no_set_is_named(digits, usual, argument, message):
    train, test = digits
    arguments = {"synthetic": md.random_images(train, 1, **usual), "test": test, argument: 3}
    with pytest.raises(md.InputError, match=f"^{argument}={message}"):
        md.evaluate(**arguments)
