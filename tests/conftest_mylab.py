"""The template of a plug-in as if it were installed, and others that are wrong."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "examples" / "plugin"
CONF = TEMPLATE / "mylab" / "conf"


def declare(site, package, files=()):
    """Write what an installer would: a package's metadata, and its yamls."""
    info = site / f"{package}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[moe_distill.plugins]\n{package} = {package}\n")
    (site / package).mkdir(exist_ok=True)
    (site / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    for file, text in dict(files).items():
        (site / package / "conf" / file).parent.mkdir(parents=True, exist_ok=True)
        (site / package / "conf" / file).write_text(text)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, for this process and those it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    path = [str(folder), str(ROOT), str(ROOT / "moe_distill" / "sweeps")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    return folder


@pytest.fixture
def mylab(site):
    """The template, installed."""
    declare(site, "mylab")
    shutil.copytree(TEMPLATE / "mylab", site / "mylab", dirs_exist_ok=True)
    return site / "mylab" / "conf"
