"""What --help prints, for whom, and how fast."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from moe_distill.config.arguments import as_hydra_reads
from moe_distill.config.choices import PARTS, groups
from moe_distill.config.composing import composed as composing
from moe_distill.config.folders import conf_dir
from moe_distill.config.help import help_text
from moe_distill.config.schema import register
from moe_distill.sweeps.looking import look_of

ROOT = Path(conf_dir()).parent


@pytest.fixture
def plugin_folder(tmp_path):
    """A folder of yamls with a method, and a group of its own that says what it is for."""
    folder = tmp_path / "mylab"
    for group in ("method", "flavour/deep"):
        (folder / group).mkdir(parents=True)
    (folder / "method/mine.yaml").write_text("_target_: mylab.Mine\n")
    (folder / "flavour/deep/sweet.yaml").write_text("sugar: 1\n")
    (folder / "help.yaml").write_text("groups: {flavour/deep: how it tastes}\nvalues: {sugar: How much.}\n")
    return folder


def row_of(text, name):
    """Return the row of a name in the help, on one line."""
    match = re.search(rf"^  {re.escape(name)} .*(?:\n {{5,}}.*)*", text, re.MULTILINE)
    return " ".join(match[0].split())


def test_every_group_says_what_it_is_for_and_names_its_choices():
    text = help_text([], 100)
    about = OmegaConf.load(Path(conf_dir()) / "help.yaml")
    assert {*about.groups} == {*groups([])}
    for group, choices in groups([]).items():
        row = row_of(text, group)
        assert row.startswith(f"{group} {about.groups[group]}: ")
        assert [c.strip("[]") for c in row.rpartition(": ")[2].split(", ")] == choices


def test_parts_of_other_yamls_are_no_groups_to_choose_from():
    assert not {group.partition("/")[0] for group in groups([])} & {*PARTS}


def test_the_choices_of_a_command_line_are_marked_and_those_made_already():
    text = help_text([], 100)
    assert "[cifar10]" in row_of(text, "data") and "[idm]" in row_of(text, "method")
    text = help_text(["method=dm", "+experiment=table1", "seed=7"], 100)
    assert "[dm]" in row_of(text, "method") and "[idm]" not in text
    assert "[table1]" in row_of(text, "experiment") and row_of(text, "seed").endswith("[7]")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_long_lists_are_wrapped_at_the_terminals_width(width):
    # A command is not cut.
    lines = [line for line in help_text([], width).splitlines() if not line.startswith("  moe-distill")]
    assert max(map(len, lines)) <= width < 2 * max(map(len, lines))


@pytest.mark.parametrize(
    "place",
    ["--config-dir={}", "--config-dir {}", "hydra.searchpath=[file://{}]", "hydra.searchpath=[pkg://mylab]"],
)
def test_what_a_user_adds_is_shown(plugin_folder, monkeypatch, place):
    monkeypatch.syspath_prepend(plugin_folder.parent)
    text = help_text(place.format(plugin_folder).split(), 100)
    assert ", mine, mtt" in row_of(text, "method")
    assert row_of(text, "flavour/deep") == "flavour/deep how it tastes: sweet"
    assert row_of(text, "sugar") == "sugar How much."


def test_a_primary_yaml_of_ones_own_names_folders_too(plugin_folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/first.yaml").write_text(f"hydra: {{searchpath: ['file://{plugin_folder}']}}\n")
    assert "mine" in groups(["--config-dir", str(tmp_path / "mine"), "--config-name", "first"])["method"]
    assert "mine" not in groups(["--config-dir", str(tmp_path / "mine")])["method"]


@pytest.mark.parametrize("place", ["/nope", "pkg://no.such", "pkg://"])
def test_a_folder_that_is_not_there_adds_nothing(place):
    assert groups([f"hydra.searchpath=[{place}]"]) == groups([])


def test_every_example_is_a_command_that_composes():
    register()
    text = help_text([], 200).partition("Groups")[0]
    examples = re.findall(r"^  moe-distill ((?:\S+ )*\S+)(?:  |$)", text, re.MULTILINE)
    lines = [look_of(example.split())[1] for example in examples if "[" not in example]
    assert len(lines) >= 8
    for line in lines:
        with composing(as_hydra_reads(line)) as (_, cfg):
            assert cfg.pipeline is not None


def env():
    places = os.pathsep.join([str(ROOT), str(ROOT / "moe_distill/sweeps")])
    return {**os.environ, "PYTHONPATH": places, "COLUMNS": "90"}


def test_help_needs_no_torch_and_takes_the_terminals_width():
    program = (
        "import sys; sys.argv = ['run', '--help', 'method=dm']; from moe_distill.run import main; main(); "
    )
    program += "sys.exit(' '.join({'torch', 'rich.console', 'wandb'} & {*sys.modules}) or 0)"
    done = subprocess.run([sys.executable, "-c", program], env=env(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{help_text(['method=dm'], 90)}\n"


def test_a_reader_that_leaves_is_no_error():
    program = f"{sys.executable} -m moe_distill --help | head -1"
    done = subprocess.run(["bash", "-c", program], env=env(), capture_output=True, text=True)
    assert done.stdout.startswith("moe-distill distils") and done.stderr == ""


def test_help_changes_nothing(called):
    assert called("--help") == (0, "") and called("-h", "metod=dm") == (0, "") and not [*Path().iterdir()]
