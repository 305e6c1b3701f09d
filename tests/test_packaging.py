"""What the package says of itself is true: its dependencies, its version, how it is cited, what changed."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import moe_distill

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PARTS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")  # of Keep a Changelog
OPTIONAL = "moe_distill/testing/"  # which says that it needs pytest


def normal(requirement):
    """Return the name of a requirement as registries compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


REQUIRED = {normal(requirement) for requirement in PROJECT["dependencies"]}
EXTRAS = {
    name: {normal(requirement) for requirement in requirements}
    for name, requirements in PROJECT["optional-dependencies"].items()
}


def imports(source):
    """Yield the top package of each import of a source that is neither ours nor Python's, and if it is
    delayed until a function is called."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        for package in {name.partition(".")[0] for name in names} - {"moe_distill"}:
            if package not in sys.stdlib_module_names:
                yield package, node not in tree.body


def undeclared(source, file, distributions):
    """Return the imports of a source that a plain installation, or for delayed ones any extra, lacks."""
    may_be_delayed = REQUIRED.union(*EXTRAS.values())
    return [
        f"{file}: {package}"
        for package, delayed in imports(source)
        if not {normal(name) for name in distributions.get(package, ())}
        & (may_be_delayed if delayed or file.startswith(OPTIONAL) else REQUIRED)
    ]


def sources():
    return {p.relative_to(ROOT).as_posix(): p.read_text() for p in (ROOT / "moe_distill").rglob("*.py")}


def test_every_import_is_of_a_declared_dependency():
    distributions = packages_distributions()
    missing = [line for file, text in sources().items() for line in undeclared(text, file, distributions)]
    assert missing == []


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("import torch.nn, numpy as np\nfrom scipy import stats", []),
        ("import scipy_of_nobody", ["a.py: scipy_of_nobody"]),
        ("import huggingface_hub", ["a.py: huggingface_hub"]),
        ("def f():\n    import huggingface_hub", []),
        ("def f():\n    from mpmath import mpf", ["a.py: mpmath"]),
        ("import os, moe_distill\nfrom . import b", []),
    ],
)
def test_an_undeclared_import_is_seen(source, missing):
    assert undeclared(source, "a.py", packages_distributions()) == missing


def test_every_dependency_is_imported_and_named_once():
    distributions = packages_distributions()
    packages = {package for text in sources().values() for package, _ in imports(text)}
    used = {normal(name) for package in packages for name in distributions.get(package, ())}
    assert REQUIRED - used == set()
    for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        names = [normal(requirement) for requirement in requirements]
        assert len(names) == len({*names})


def test_who_develops_has_every_extra():
    assert set().union(*EXTRAS.values()) == EXTRAS["dev"]


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == moe_distill.__version__ == citation["version"]


def test_the_citation_has_what_the_format_demands():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"authors", "cff-version", "message", "title"} <= {*citation}
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["license"] == PROJECT["license"]
    names = [author["name"] for author in PROJECT["authors"]]
    assert [author["name"] for author in citation["authors"]] == names
    (paper,) = citation["references"]
    assert paper["title"] == "Dataset Distillation with Mixture-of-Experts" and paper["authors"]


def test_the_changelog_has_the_parts_of_its_form():
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    versions = [line for line in lines if line.startswith("## ")]
    assert versions[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line) for line in versions[1:])
    parts = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    assert parts and {*parts} <= {*PARTS}


def test_the_pins_name_no_registry_and_hold_every_dependency():
    pins = (ROOT / "requirements.lock").read_text()
    assert "://" not in pins and "--index-url" not in pins
    assert REQUIRED | EXTRAS["dev"] <= {normal(line) for line in pins.splitlines() if re.match(r"\w", line)}
