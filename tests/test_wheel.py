"""The wheel, installed in another environment, does all that a checkout does, from an empty folder."""

import csv
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import moe_distill

pytestmark = pytest.mark.slow

ROOT = Path(moe_distill.__file__).parents[1]
SHORT = ["logger=none", "threads=1", "width=0.0625", "seeds=1"]
SHORT += ["shorten.idm.iterations=3", "recipe.epochs=2", "features.recipe.epochs=1"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Our wheel."""
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of an environment that holds the wheel."""
    return environment(tmp_path_factory.mktemp("env"), wheel)


@pytest.fixture(scope="module")
def plugin(wheel, tmp_path_factory):
    """The template of a plug-in, copied, built and installed beside our wheel: the interpreter, its tests."""
    home = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "examples" / "plugin", home / "source")
    python = environment(home, wheel, built(home / "source", home))
    # Its tests are those that were published.
    built(home / "source", home, "sdist")
    (sdist,) = home.glob("*.tar.gz")
    shutil.unpack_archive(sdist, home / "unpacked", filter="data")
    (tests,) = home.glob("unpacked/*/tests")
    return python, tests


def built(source, folder, target="wheel"):
    """Build a package; return its wheel, if that was built."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(build, cwd=source, check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"), None)


def environment(home, *wheels):
    """Return the interpreter of an environment that holds wheels; what they need is borrowed from this
    one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "env")], check=True, timeout=60)
    site = next((home / "env").glob("lib/python*/site-packages"))
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(site)
    # a folder named here is searched, but its own .pth files, such as that of an editable install, are not
    # read
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home / "env" / "bin" / "python"


def run(python, folder, *arguments):
    env = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MOE_DISTILL_HOME")
    }
    command = [str(python), "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_quickstart_runs_from_an_empty_folder(python, tmp_path):
    out = run(python, tmp_path, "moe_distill.run", "+experiment=quickstart", *SHORT)
    assert "idm5x2 over random10x1" in out
    made = tmp_path / "runs" / "quickstart"
    assert (made / "report.html").stat().st_size > 10_000
    table = rows(made / "results.csv")
    assert {row["roster"] for row in table} == {"idm5x2", "idm10x1", "random10x1"} and len(table) == 12
    assert {row["commit"] for row in table} == {
        moe_distill.__version__
    }  # no checkout: it is the wheel that ran
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_sweep_of_fresh_processes_runs_from_an_empty_folder(python, tmp_path):
    sweep = ["scale=smoke", "data=digits", "method=random", "ipc=1", "noe=1", "students=convnet3", "seed=0,1"]
    run(python, tmp_path, "moe_distill.run", "-m", "hydra/launcher=process", *sweep, "name=sweep", *SHORT[:2])
    table = rows(tmp_path / "runs" / "sweep" / "results.csv")
    assert sorted((row["distill_seed"], row["seed"]) for row in table) == [
        ("0", "0"),
        ("0", "1"),
        ("1", "0"),
        ("1", "1"),
    ]


def test_a_users_program_sees_the_types(python, tmp_path):
    imported = "from moe_distill.synthetic.synthetic_set import SyntheticSet"
    (tmp_path / "program.py").write_text(f"{imported}\nreveal_type(SyntheticSet.load('a').dataset())\n")
    assert 'type is "torch.utils.data.dataset.TensorDataset"' in run(python, tmp_path, "mypy", "program.py")
    # Without the marker mypy does not look into an installed package.
    marker = next(python.parents[1].glob("lib/python*/site-packages/moe_distill/py.typed"))
    marker.unlink()
    try:
        with pytest.raises(AssertionError, match=r"missing library stubs or py\.typed"):
            run(python, tmp_path, "mypy", "program.py")
    finally:
        marker.touch()


def test_a_plugin_in_an_environment_of_its_own_passes_the_suite_that_it_inherits(plugin, tmp_path):
    python, tests = plugin
    out = run(python, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests))
    outcomes = out.splitlines()[-1]
    assert " passed" in outcomes and "failed" not in outcomes and "skipped" not in outcomes, outcomes


def test_a_plugins_words_run_from_an_empty_folder(plugin, tmp_path):
    python, _ = plugin
    words = ["method=moments", "data=shapes", "students=[patchnet]", "diversity/measure=second_moments"]
    run(python, tmp_path, "moe_distill", *words, "recipe=brief", "scale=smoke", "split=2x2", *SHORT[:4])
    table = rows(tmp_path / "runs" / "single" / "results.csv")
    assert {(row["roster"], row["dataset"], row["architecture"]) for row in table} >= {
        ("moments2x2", "shapes", "patchnet")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_package_of_the_page_on_plugins_works_as_it_stands(wheel, tmp_path):
    source = tmp_path / "source"
    for block in re.findall(
        r"^```\w+\n(.*?)^```$", (ROOT / "docs/tutorials/package.md").read_text(), re.M | re.S
    ):
        file = source / block.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    python = environment(tmp_path, wheel, built(source, tmp_path / "built"))
    (tmp_path / "here").mkdir()
    assert " passed" in run(python, tmp_path / "here", "pytest", "-q", str(source / "tests"))
    install, test, command = (source / "run.sh").read_text().splitlines()[1:]
    assert install.startswith("pip install") and test.startswith("python -m pytest")
    run(python, tmp_path / "here", *command.replace("moe-distill", "moe_distill").split())
    shutil.copy(source / "run.py", tmp_path / "here")
    assert "means2x2" in run(python, tmp_path / "here", "run")
