"""A package of somebody else's adds its words by an entry point, a folder of yamls by its name."""

import csv
import subprocess
import sys
from functools import partial

import pytest
from conftest_called import refused
from conftest_mylab import CONF, TEMPLATE, declare, mylab, site  # noqa: F401 (fixtures)

import moe_distill as md
from moe_distill.config import plugins as installed
from moe_distill.config.folders import options

WORDS = {
    "method": "moments",
    "model": "patchnet",
    "data": "shapes",
    "diversity/measure": "second_moments",
    "recipe": "brief",
    "experiment": "first_look",
}
ALL = (
    *("method=moments", "model=patchnet", "data=shapes", "diversity/measure=second_moments", "recipe=brief"),
    *("students=[patchnet]", "split=2x2", "seeds=1", "recipe.epochs=2"),
)
DISTIL = ("method=moments", "split=1x1", "pipeline=distill")


def keys(store):
    """Return the keys of all sets in a store."""
    return [manifest.parent.name for manifest in store.glob("set/*/manifest.json")]


def rows(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_template_has_every_kind_of_part():
    kinds = {file.relative_to(CONF).parent.as_posix(): file.stem for file in CONF.rglob("*.yaml")}
    assert kinds == WORDS and (TEMPLATE / "README.md").is_file()


def test_words_are_known_without_importing_the_package(site):  # noqa: F811
    declare(site, "other", {f"{group}/mine.yaml": "_target_: other.Mine\n" for group in WORDS})
    assert all("mine" in options(group) for group in WORDS)
    assert "other" not in sys.modules and "other" in [plugin.package for plugin in installed.plugins()]


def test_one_run_uses_every_part_of_an_installed_package(called, mylab, tmp_path):  # noqa: F811
    assert called(*ALL)[0] == 0
    (row,) = [row for row in rows(tmp_path / "runs/single") if row["method"] == "moments"]
    assert (row["dataset"], row["architecture"], row["recipe"]) == ("shapes", "patchnet", "brief")
    assert row["diversity"].startswith("second_moments")


def test_a_wrong_word_is_answered_by_theirs_too(called, mylab, tmp_path):  # noqa: F811
    error = refused(called, tmp_path / "store", "method=momnts")
    assert error == "method=momnts: did you mean method=moments?"


@pytest.mark.slow
def test_a_sweep_knows_the_words_in_its_jobs(mylab, tmp_path):  # noqa: F811
    line = ["-m", "+experiment=first_look", "scale=smoke", "logger=none", "trainer=cpu", "threads=1"]
    line += ["students=patchnet", "seeds=1", "recipe.epochs=1", "method.iterations=3"]
    command = [sys.executable, "-m", "moe_distill.run", *line]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {row["roster"] for row in rows(tmp_path / "runs/first_look")} == {
        "moments5x2",
        "moments10x1",
        "random10x1",
    }


@pytest.mark.slow
def test_by_entry_point_by_folder_and_as_an_object_a_part_has_one_key(called, mylab, tmp_path):  # noqa: F811
    """In each way into a store of its own, so that none finds what another made."""
    assert called(*DISTIL)[0] == 0
    (expected,) = keys(tmp_path / "store")
    from mylab.method import Moments

    train, test = md.load_dataset("digits")
    usual = {"test": test, "ipc": 1, "noe": 1, "scale": "smoke", "progress": False}
    as_object = partial(Moments, iterations=100, lr=0.05, real_batch=64)
    for store, method in (("by_word", "moments"), ("by_object", as_object)):
        made = md.distill(train, method=method, store=str(tmp_path / store), **usual)
        assert made.path.name == expected
    # Uninstalled: the same code is beside the folder of yamls.
    for file in (mylab.parents[1] / "mylab-0.1.0.dist-info").iterdir():
        file.unlink()
    installed._plugins.cache_clear()
    assert "moments" not in options("method")
    made = md.distill(train, method="moments", config_dir=mylab, store=str(tmp_path / "by_dir"), **usual)
    assert made.path.name == expected
    for number, place in enumerate((("--config-dir", str(mylab)), (f"hydra.searchpath=[file://{mylab}]",))):
        store = tmp_path / f"by_place{number}"
        assert called(*place, *DISTIL, f"paths.store={store}")[0] == 0
        assert keys(store) == [expected]


def test_a_folder_is_named_in_python(tmp_path):
    for folder in (tmp_path / "none", 3):
        with pytest.raises(ValueError, match=r"^config_dir=.*: a folder of yamls$"):
            md.load_dataset("digits", config_dir=folder)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text("defaults: [digits]\nname: mine\n")
    assert md.load_dataset("mine", config_dir=tmp_path)[0].name == "mine"


BAD = "_target_: no.such\n"


@pytest.mark.parametrize(
    ("first", "second", "warning"),
    [
        (
            {},
            {"init/b.yaml": BAD},
            "one (one 0.1.0): no options, as one has no folder conf of yamls",
        ),
        (
            {"init/first.yaml": BAD},
            {},
            "one (one 0.1.0): init/first.yaml has no effect, as moe_distill has an option of that name",
        ),
        (
            {"init/a.yaml": BAD},
            {"init/a.yaml": "_target_: two.A\n"},
            "two (two 0.1.0): init/a.yaml cannot be used, as plug-in one (one 0.1.0) has one of that name",
        ),
    ],
)
def test_a_broken_plugin_is_named_and_stops_no_run(called, site, first, second, warning):  # noqa: F811
    declare(site, "one", first)
    declare(site, "two", second or {"init/c.yaml": BAD})
    from moe_distill.config import sources

    sources._warn.cache_clear()
    code, error = called("method=random", "init=first", "split=1x1", "pipeline=distill")
    assert code == 0 and error.startswith(f"warning: plug-in {warning}") and error.count("\n") == 1


def test_a_word_that_two_plugins_have_is_refused_where_it_is_used(called, site, tmp_path):  # noqa: F811
    for name in ("one", "two"):
        declare(site, name, {"init/a.yaml": f"_target_: {name}.A\n", "init/same.yaml": BAD})
    code, error = called("init=a")
    names = "plug-in one (one 0.1.0) and plug-in two (two 0.1.0)"
    allowed = f"init=a: an option that one place has, not {names}; rename one of them"
    assert (code, error.splitlines()[-1]) == (2, f"error: {allowed}")
    train, _ = md.load_dataset("digits")
    with pytest.raises(ValueError, match=r"^init=a: an option that one place has, not plug-in one"):
        md.random_images(train, ipc=1, init="a", store=str(tmp_path), progress=False)
    # What is the same in both is no question.
    assert "init=same" not in called("init=same")[1]


def declared(folder, file):
    """Return a folder with one yaml."""
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text(BAD)
    return folder


def test_a_folder_that_hides_behind_ours_is_refused(called, tmp_path):
    folder = declared(tmp_path / "mine", "method/dm.yaml")
    said = f"{folder}: yamls with names of their own; moe_distill has method/dm, which would be used"
    assert refused(called, tmp_path / "store", "--config-dir", str(folder)) == f"--config-dir={said}"
    with pytest.raises(ValueError, match=r"config_dir=.* which would be used"):
        md.load_dataset("digits", config_dir=folder)


def test_a_yaml_without_a_target_is_named_in_python(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method/mine.yaml").write_text("iterations: 3\n")
    train, _ = md.load_dataset("digits")
    with pytest.raises(ValueError, match=r"^method=mine: a yaml with _target_"):
        md.distill(train, method="mine", config_dir=tmp_path, store=str(tmp_path), progress=False)
