"""What the Tab key offers, asked as a shell does: groups, choices, keys and values, plug-ins included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moe_distill.config.completion import answer, completions
from moe_distill.config.flags import COMMANDS
from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register

ROOT = Path(conf_dir()).parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a user's yamls below it, in which the shell stands."""
    register()
    monkeypatch.chdir(tmp_path)
    for group, name in (("method", "mine"), ("flavour", "sweet")):
        (tmp_path / "mylab" / group).mkdir(parents=True)
        (tmp_path / "mylab" / group / f"{name}.yaml").write_text("_target_: mylab.Mine\nsugar: 1\n")
    return tmp_path


def offered(line):
    return completions(f"moe-distill {line}", COMMANDS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sta", ["status"]),
        ("rep", ["report"]),
        ("method=dm sta", []),  # a command is the first word
        ("metho", ["method.", "method="]),
        ("status metho", ["method.", "method="]),
        ("+experim", ["+experiment="]),
        ("~fus", ["~fusion.", "~fusion="]),
        ("+experiment=table1", ["+experiment=table1", "+experiment=table1_64"]),
        ("diversity/", ["diversity/measure="]),
        ("diversity/measure=dcor_", ["diversity/measure=dcor_relu", "diversity/measure=dcor_unbiased"]),
        ("recipe@features.recipe=mt", ["recipe@features.recipe=mtt"]),
        ("-m method=idm,id", ["method=idm,idc"]),
        ("mixup_p", ["mixup_pairing="]),
        ("method.queue.st", ["method.queue.steps="]),
        ("method=dm method.queue.st", []),
        ("method=mtt method.syn", ["method.synthetic_steps="]),
        ("-m method=mtt,idm method.syn", ["method.synthetic_steps="]),
        ("--config-dir mylab method=mi", ["method=mine"]),
        ("--config-dir mylab method=mine method.su", ["method.sugar="]),
        ("--config-dir=mylab +fla", ["+flavour="]),
        ("hydra.searchpath=[file://mylab] +flavour=", ["+flavour=sweet"]),
        ("--config-dir my", ["mylab/"]),
        ("seed=", ["seed=0"]),
        ("trainer=cpu trainer.acc", ["trainer.accelerator="]),
        ("trainer=cpu trainer.accelerator=", ["trainer.accelerator=cpu"]),
        ("profile=", ["profile=false", "profile=true"]),
        ("ipc=", ["ipc=5"]),
        ("split=10x1 ipc=", ["ipc=10"]),
        ("method.lr=", []),  # a published row fills it in
        ("data.root=my", ["data.root=mylab/"]),
        ("data.root=mylab/f", ["data.root=mylab/flavour/"]),
        ("paths.runs=nowhere/", []),
        ("--tr", ["--tree"]),
        ("--config-d", ["--config-dir"]),
        ("hydra/launcher=p", ["hydra/launcher=process"]),
        ("hydra/lau", ["hydra/launcher="]),
        ("hydra.launcher.n_", ["hydra.launcher.n_jobs="]),
        ("debug=f", ["debug=fast"]),
        ("+debug=p", ["+debug=profiler"]),
        ("zzz", []),
        ("zzz=", []),
    ],
)
def test_what_begins_like_the_word_is_offered(line, words):
    assert offered(line) == words


def test_a_new_word_may_be_any_key_or_command():
    everything = offered("")
    assert {"status", "report", "method=", "+experiment=", "+debug=", "seed=", "data."} <= {*everything}
    assert not {"experiment=", "preset=", "stages="} & {*everything}
    assert "status" not in offered("method=dm ")


def test_the_line_is_read_up_to_the_cursor():
    line = "moe-distill method=id data=cifar10"
    assert answer(line, str(len("moe-distill method=id")), COMMANDS).split() == ["method=idc", "method=idm"]
    assert answer(line, "", COMMANDS) == "data=cifar10\ndata=cifar100"


@pytest.mark.parametrize(
    "line",
    ["metod=idm method.l", "method=[ method.l", "name='a method.l", "--cfg nonsense method.l", "-p method.l"],
)
def test_a_line_that_is_wrong_so_far_offers_nothing_and_says_nothing(line, capsys):
    assert answer(f"moe-distill {line}", "", COMMANDS).strip() == ""
    assert capsys.readouterr() == ("", "")


def test_nothing_is_offered_that_a_shell_would_expand(folder):
    (folder / "mylab/method/$(touch x).yaml").write_text("")
    (folder / "mylab/method/`id`.yaml").write_text("")
    assert offered("--config-dir mylab method=$") == [] == offered("--config-dir mylab method=`")
    assert offered("name=") == ["name=single"] and offered("paths.store=$") == []


@pytest.fixture
def shell(folder, monkeypatch):
    """Puts a ``moe-distill`` on the path, as pip installs it; gives what runs a script of a shell."""
    program = folder / "bin" / "moe-distill"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m moe_distill "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "moe_distill/sweeps")]))

    def run(name, script):
        return subprocess.run([name, "-c", script], capture_output=True, text=True, timeout=120)

    return run


BASH = """eval "$(moe-distill -sc install=bash)"
complete -p moe-distill
COMP_LINE='moe-distill --config-dir mylab method=mi'; COMP_POINT=${#COMP_LINE}; COMP_CWORD=3
hydra_bash_completion; echo "${COMPREPLY[@]}"
"""


def test_bash_completes_after_the_documented_line(shell):
    done = shell("bash", BASH)
    assert done.stderr == "" and done.stdout.splitlines() == [
        "complete -o default -o nospace -F hydra_bash_completion moe-distill",
        "method=mine",
    ]


def test_zsh_and_fish_get_scripts_of_their_own(shell):
    zsh = shell("bash", "moe-distill -sc install=zsh").stdout
    assert "compdef _moe_distill moe-distill\n" in zsh and "moe-distill -sc query=zsh" in zsh
    fish = shell("bash", "moe-distill -sc install=fish").stdout
    assert "complete -c moe-distill -x -a '(hydra_fish_completion)'" in fish and "query=fish" in fish


def test_a_shell_is_answered_without_torch(shell):
    code = "import sys; sys.argv = ['run', '-sc', 'query=bash']; from moe_distill.run import main; main(); "
    code += "sys.exit(' '.join({'torch', 'wandb'} & {*sys.modules}) or 0)"
    done = shell("bash", f"COMP_LINE='moe-distill method.net' COMP_POINT=22 {sys.executable} -c \"{code}\"")
    assert (done.returncode, done.stdout, done.stderr) == (0, "method.networks_see=\n", "")
