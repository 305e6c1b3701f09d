"""Each code block of the README and of docs/ does what its page says."""

import csv
import importlib.util
import re
import subprocess
import sys
import tomllib
import types

import pytest
from conftest_blocks import BLOCKS, PAGES, ROOT, blocks_of, commands
from hydra.errors import HydraException
from PIL import Image

from moe_distill.api import session
from moe_distill.config.arguments import as_hydra_reads
from moe_distill.config.composing import composed
from moe_distill.config.flags import TREE
from moe_distill.config.folders import folders_of, searching
from moe_distill.config.overrides import check_split, check_typed
from moe_distill.config.resolving import resolve_and_check
from moe_distill.config.schema import register
from moe_distill.errors import InputError

# Pages that newcomers follow first are tested every day, the others by the slow tests.
DAILY = re.compile(r"README\.md|docs/(quickstart|tutorials/own_method)\.md")


def cases(entries):
    """Return arguments of tests, of which the first begins with a page; slow where it is not of every day."""
    return [
        pytest.param(*entry, id=entry[0], marks=[] if DAILY.match(entry[0]) else [pytest.mark.slow])
        for entry in entries
    ]


PYTHON = cases([(page,) for page in sorted({block.page for block in BLOCKS if block.language == "python"})])
COMPOSED = cases(commands(("", "run")))
RUNNABLE = ("data=digits", "data.root=pictures", "data.root=flat")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that all pages share: several distil the same set."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def place(tmp_path, store, monkeypatch):
    """A folder with what pages speak of: pictures, the committed rows, files that a page's blocks write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MOE_DISTILL_HOME", str(store))
    for part in ("pictures/train", "pictures/test", "flat"):
        for number in range(40):
            folder = tmp_path / part / ("cat", "dog")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 36), (number * 6, 90, 200 - number * 5)).save(folder / f"{number}.png")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for block in (block for block in BLOCKS if block.file):
        (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / block.file).write_text(block.text)
    return tmp_path


def execute(page, monkeypatch):
    """Execute the Python of a page in its order, as one module."""
    name = re.sub(r"\W", "_", page)
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # where pickles and keys look for its classes
    for block in (b for b in BLOCKS if b.page == page and b.language == "python"):
        # The lines of errors are those of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(ROOT / page), "exec")
        if block.mark != "compile":
            exec(code, vars(module))
    return module


@pytest.fixture
def smoke(monkeypatch):
    """Make every call of the Python API work at the smallest scale, whatever its page says."""
    plain = session.call_of
    monkeypatch.setattr(session, "call_of", lambda keywords: plain({**keywords, "scale": "smoke"}))


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_runs_in_its_order(page, place, smoke, monkeypatch):
    assert vars(execute(page, monkeypatch))


def test_python_that_does_not_run_is_seen(monkeypatch):
    block = blocks_of("```python\nx = 1\n```\n\n```python\ny = z\n```\n", "page.md")
    assert [b.line for b in block] == [2, 6]
    monkeypatch.setitem(globals(), "BLOCKS", block)
    with pytest.raises(NameError):
        execute("page.md", monkeypatch)


def checked(words):
    """Compose and check the command line of words, of a sweep its first job; return the resolved settings."""
    assert words[0] == "moe-distill"
    words = as_hydra_reads([word for word in words[1:] if word not in ("status", "report", TREE)])
    check_typed(words)
    check_split(word for word in words if "=" in word)
    register()
    with searching(folders_of(words)), composed(words, "paths.output=/nowhere") as (_, cfg):
        return resolve_and_check(cfg)


@pytest.mark.parametrize(("where", "words"), COMPOSED)
def test_a_command_line_of_a_page_is_composed_and_checked(where, words, place):
    assert checked(words)["name"]


@pytest.mark.parametrize(
    "words", ["metod=dm", "method=dm split=7", "-m method=no,dm", "hydra.launcher.jobs=2"]
)
def test_a_wrong_command_line_of_a_page_is_seen(words, place):
    with pytest.raises((InputError, HydraException)):
        checked(["moe-distill", *words.split()])


@pytest.mark.parametrize(("where", "words"), commands(("fails",)))
def test_a_command_line_that_a_page_shows_as_wrong_is_refused(where, words, place):
    (block,) = (b for b in BLOCKS if b.mark.startswith("fails: "))
    with pytest.raises(InputError, match=block.mark.removeprefix("fails: ")):
        checked(words)


SHELL = {
    "make": lambda words: re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE),
    "pip": lambda words: {*re.findall(r"\[(\w+)\]", words[-1])} <= {*EXTRAS},
    "wandb": lambda words: words[1] == "sync",
    "git": lambda words: words[1] == "clone",
    "source": lambda words: words[1] == ".venv/bin/activate",
    "eval": lambda words: re.fullmatch(r"\$\(moe-distill -sc install=(bash|zsh)\)", words[1]),
    "moe-distill": lambda words: words[1:] == ["-sc", "install=fish", "|", "source"],
}


@pytest.mark.parametrize(("where", "words"), commands(("shell",)))
def test_a_command_of_another_program_is_one_that_there_is(where, words):
    assert SHELL[words[0]](words), where


def test_every_block_has_a_language_and_a_mark_that_is_tested():
    assert {block.language for block in BLOCKS} == {"bash", "python", "text", "yaml"}
    assert {block.mark.partition(":")[0] for block in BLOCKS} == {
        "",
        "run",
        "fails",
        "shell",
        "compile",
        "file",
    }
    assert all(block.file for block in BLOCKS if block.language == "yaml")
    # No fence that the pattern overlooks.
    assert sum(page.read_text().count("\n```") for page in PAGES) == 2 * len(BLOCKS)


def ran(words, folder):
    """Run a command line at smoke scale in a process of its own; return its output."""
    given = {word.partition("=")[0] for word in words}
    usual = {"scale": "smoke", "logger": "none", "threads": "1", "students": "convnet3", "seeds": "1"}
    words = [word for word in words[1:] if word != "scale=small"]
    more = [f"{key}={value}" for key, value in usual.items() if key not in given - {"scale"}]
    command = [sys.executable, "-m", "moe_distill", *words, *([] if "--help" in words else more)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_a_command_line_that_is_marked_to_run_runs(place):
    (words,) = (words for _, words in commands(("run",)))
    assert "method" in ran(words, place)


# An upload, a set that its page makes before, and a search of twenty jobs are composed only.
COMPOSED_ONLY = re.compile("push_to|released|optuna")
RUN = [
    (where, words)
    for where, words in commands(("",))
    if {*RUNNABLE} & {*words} and not COMPOSED_ONLY.search(" ".join(words))
]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "words"), RUN, ids=[where for where, _ in RUN])
def test_a_command_line_that_needs_no_files_runs(where, words, place, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{place}:{ROOT}:{ROOT}/moe_distill/sweeps")
    ran(words, place)


@pytest.mark.slow
def test_the_test_of_an_own_method_passes(place):
    assert importlib.util.find_spec("my_methods")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={place}", "test_mine.py"],
        cwd=place, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


def test_committed_rows_that_pages_read_are_there(place):
    with (place / "experiments/table4/results.csv").open() as file:
        assert len([*csv.DictReader(file)]) > 100
