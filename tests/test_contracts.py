"""Who may import whom: the contracts hold on the package, and each of them can break."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter import configuration
from importlinter.application import use_cases
from importlinter.contracts import forbidden, independence, layers
from importlinter.domain.contract import registry

ROOT = Path(__file__).parents[1]
PYPROJECT = ROOT / "pyproject.toml"
CONTRACTS = {c["id"]: c for c in tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]}
KINDS = {
    "layers": layers.LayersContract,
    "independence": independence.IndependenceContract,
    "forbidden": forbidden.ForbiddenContract,
}

# What is planted: a file, a line at its end, and the only contract that may break by it.
VIOLATIONS = [
    ("layers", "data/real_set.py", "from moe_distill.models import base"),
    ("layers", "models/base.py", "from moe_distill.training import recipe"),
    ("layers", "store/store.py", "def f():\n    from moe_distill.results import rows"),
    ("layers", "seeding.py", "from moe_distill.validation import values"),
    ("layers", "training/recipe.py", "from moe_distill.teachers import pool"),
    ("layers", "pipelines/full.py", "import moe_distill.sweeps.jobs"),
    ("layers", "reports/tables.py", "def f():\n    from moe_distill.pipelines import evaluate"),
    ("layers", "tracking/workspace.py", "from moe_distill.reports import charts"),
    ("layers", "results/question.py", "from moe_distill.reports import tables"),
    ("layers", "utils.py", "X = 1"),
    ("layers", "helpers/__init__.py", "X = 1"),
    ("methods", "methods/dm.py", "from moe_distill.methods.idm import IDM"),
    ("methods", "methods/regularizers/clom.py", "def f():\n    import moe_distill.methods.dm"),
    ("stages", "pipelines/distill.py", "from moe_distill.pipelines import evaluate"),
    ("stages", "pipelines/finish.py", "def f():\n    from moe_distill.pipelines.pretrain import pretrain"),
    ("hydra", "experts/roster.py", "def f():\n    from hydra.utils import instantiate"),
    ("hydra", "data/sources/folder.py", "import omegaconf"),
    ("plain", "methods/base.py", "import pytorch_lightning as pl"),
    ("plain", "diversity/features.py", "def f():\n    from torchmetrics.classification import Accuracy"),
    ("plain", "training/cohort.py", "from moe_distill.training import classifier"),
    ("results", "results/aggregate.py", "def f():\n    import torch"),
    ("results", "store/store.py", "from moe_distill.store import tensor_files"),
    ("testing", "costs.py", "def f():\n    import pytest"),
    ("testing", "__main__.py", "from moe_distill.testing import MethodConformance"),
    ("hydra", "testing/networks.py", "from hydra.utils import instantiate"),
    ("presets", "methods/presets/idm.py", "def f():\n    import torch"),
    ("mixture", "methods/dm.py", "from moe_distill.diversity.measures import Measure"),
]


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Gives the ids of the contracts that a copy of the package breaks once something was planted in it."""

    def broken(file, line):
        package = tmp_path / "moe_distill"
        shutil.copytree(ROOT / "moe_distill", package, ignore=shutil.ignore_patterns("__pycache__"))
        target = package / file
        target.parent.mkdir(exist_ok=True)
        with target.open("a") as source:
            source.write(f"\n\n{line}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "moe_distill", raising=False)
        configuration.configure()
        for name, kind in KINDS.items():
            registry.register(kind, name)
        report = use_cases.create_report(use_cases.read_user_options(str(PYPROJECT)), cache_dir=None)
        assert not report.could_not_run and not report.invalid_contract_options
        by_name = {contract["name"]: identity for identity, contract in CONTRACTS.items()}
        return {
            by_name[contract.name] for contract, check in report.get_contracts_and_checks() if not check.kept
        }

    return broken


def test_the_package_keeps_every_contract():
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def test_every_contract_has_a_violation_planted():
    assert {contract for contract, _, _ in VIOLATIONS} == set(CONTRACTS)


def test_an_untouched_copy_breaks_nothing(broken):
    assert broken("run.py", "") == set()


@pytest.mark.parametrize(
    ("contract", "file", "line"), VIOLATIONS, ids=[f"{c}-{f.replace('/', '.')}" for c, f, _ in VIOLATIONS]
)
def test_a_planted_import_breaks_that_very_contract(broken, contract, file, line):
    assert broken(file, line) == {contract}


def modules(folder):
    """Return the dotted names of the modules and packages in a folder of the package."""
    found = [p for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    inside = ".".join(folder.relative_to(ROOT).parts)
    return {f"{inside}.{p.stem}" for p in found if p.stem != "__init__"}


def test_every_module_is_under_the_contracts_on_libraries():
    package = ROOT / "moe_distill"
    top = modules(package)
    hydra = {
        f"moe_distill.{name}" for name in ("__main__", "api", "run", "report", "status", "sweeps", "config")
    }
    assert set(CONTRACTS["hydra"]["source_modules"]) == top - hydra
    assert set(CONTRACTS["testing"]["source_modules"]) == top - {"moe_distill.testing"}
    rooms = ("testing", "pipelines", "reports", "tracking", "evaluation", "context", "experts", "training")
    lightning = {f"moe_distill.{name}" for name in rooms}
    trained = modules(package / "training") - {
        f"moe_distill.training.{name}" for name in ("checkpoints", "classifier", "trainer")
    }
    assert set(CONTRACTS["plain"]["source_modules"]) == (top - hydra - lightning) | trained


def test_the_entry_point_answers_without_loading_torch():
    code = "import sys, moe_distill.run; loaded = {'torch', 'pytorch_lightning', 'wandb'} & {*sys.modules}; "
    code += "sys.exit(' '.join(loaded) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
