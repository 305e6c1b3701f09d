"""Hydra's flags, with sense and with nonsense: a wrong one ends in one line and acts on nothing."""

import pickle
from pathlib import Path

import pytest
from conftest_called import refused

from moe_distill.config.flags import check_flags
from moe_distill.errors import InputError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--resolve"], "--resolve=True: only together with --cfg job"),
        (["--package", "name"], "--package=name: only together with --cfg job"),
        (["-r", "-m"], "flags=--run --multirun: one of them"),
        (["-m", "--cfg", "job"], "flags=--multirun --cfg: one of them"),
        (["--cfg"], "flags=--cfg: argument --cfg/-c: expected one argument"),
        (["--cfg", "nonsense"], "flags=--cfg: argument --cfg/-c: invalid choice: 'nonsense'"),
        (["--info", "nonsense"], "flags=--info: argument --info/-i: invalid choice: 'nonsense'"),
        (["--config-dir", "/nope"], "--config-dir=/nope: a folder of yamls"),
        (["-sc"], "--shell-completion=: one of install=bash"),
        (["-sc", "install=nope"], "--shell-completion=install=nope: one of install=bash"),
        (["-sc", "query=bash"], "--shell-completion=query=bash: one of install=bash"),
        (["--help", "--resolve"], "--resolve=True: only together with --cfg job"),
        (
            ["--mutlirun"],
            "flags=--mutlirun: unrecognized arguments: --mutlirun; did you mean --multirun?",
        ),
        (["staus", "seed=1"], "argument=staus: did you mean status?"),
        (["seed=1", "status"], "argument=status: the first word: moe-distill status …"),
        (["method", "idm"], "argument=method: did you mean method=…?"),
        (["nonsense"], "argument=nonsense: key=value, or status or report as the first word"),
        (["--nonsense"], "flags=--nonsense: unrecognized arguments: --nonsense"),
        (["--experimental-rerun", "/nope"], "--experimental-rerun=/nope: leave it out"),
        (["--experimental-rer=/nope"], "--experimental-rerun=/nope: leave it out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_flag_that_cannot_serve_is_refused_in_one_line(monkeypatch, given, said):
    monkeypatch.delenv("COMP_LINE", raising=False)
    with pytest.raises(InputError) as caught:
        check_flags(given)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "-m split=5x2",
        "-r",
        "--cfg job --resolve",
        "-c all -p name",
        "--info",
        "--help method=dm",
        "-sc install=zsh",
    ],
)
def test_flags_that_serve_are_hydras(given):
    check_flags(given.split())


def test_a_shell_may_ask_what_completes_a_line(monkeypatch):
    monkeypatch.setenv("COMP_LINE", "run spl")
    check_flags(["-sc", "query=bash"])


class Acts:
    """What writes a file where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("acted"),)


def test_a_strangers_file_does_not_act(called, tmp_path):
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Acts()))
    said = refused(called, tmp_path / "store", "--experimental-rerun", "config.pickle")
    assert said.startswith("--experimental-rerun=config.pickle: leave it out") and not Path("acted").exists()


def test_a_package_that_is_not_there_is_refused(called, tmp_path, capfd):
    said = refused(called, tmp_path / "store", "--cfg", "job", "--package", "foo")
    assert said == "--package=foo: a key of the configuration that is not null"
    assert called("--cfg", "job", "--package", "plan") == (0, "")


@pytest.mark.parametrize("full", ["0", "1", ""])
def test_how_much_hydra_is_to_say_of_errors_changes_nothing(called, tmp_path, monkeypatch, full):
    monkeypatch.setenv("HYDRA_FULL_ERROR", full)
    assert refused(called, tmp_path / "store", "seed=foo") == "seed=foo: a whole number"


def test_an_empty_folder_in_the_environment_is_none(called, tmp_path, monkeypatch):
    monkeypatch.setenv("MOE_DISTILL_HOME", "")
    assert called("method=random", "split=1x2", "pipeline=distill") == (0, "")
    assert [*(tmp_path / "runs/store/set").iterdir()]
