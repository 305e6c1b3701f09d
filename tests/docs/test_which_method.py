"""The README's "Which method should I use?" is what the committed rows say."""

import importlib.util
from pathlib import Path

import pytest
from conftest_rows import trained

from moe_distill.results.frames import COLUMNS
from moe_distill.results.row_files import write_csv

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def which():
    """The generator, which is in no package."""
    spec = importlib.util.spec_from_file_location("which_method", ROOT / "docs" / "which_method.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(roster, accuracies, distilling, teachers, **more):
    """Return a row for each network's students."""
    costs = {"distill_seconds": str(distilling), "teacher_seconds": str(teachers)}
    costs |= {"peak_memory_mb": "1536", "hardware": "A CPU, AVX512, 2 threads"}
    return [
        trained(roster, f"{roster} {more} {n} {s}", str(a), architecture=n, seed=str(s), **costs, **more)
        for n, values in accuracies.items()
        for s, a in enumerate(values)
    ]


def committed(folder, name, rows):
    (folder / name).mkdir()
    write_csv(folder / name / "results.csv", rows, COLUMNS)


def test_the_readme_follows_the_committed_rows(which):
    readme = (ROOT / "README.md").read_text()
    assert which.updated(readme) == readme, "python docs/which_method.py writes it anew"
    assert which.updated(readme.replace("| idc | `small` | 10 |", "| idc | `small` | 11 |")) == readme


def test_its_table_has_the_longest_run_of_each_single_expert(which, tmp_path):
    rows = [
        *rows_of("dm10x1", {"convnet3": (0.2, 0.4), "vgg11": (0.1, 0.1)}, 900, 0, iterations="100"),
        *rows_of("dm10x1", {"convnet3": (0.9, 0.9), "vgg11": (0.9, 0.9)}, 90, 0, iterations="10"),
        *rows_of("dm5x2", {"convnet3": (0.9, 0.9), "vgg11": (0.9, 0.9)}, 900, 0),
        *rows_of("dm10x1", {"convnet3": (0.9, 0.9)}, 900, 0, recipe="dsa-cumulative", iterations="100"),
    ]
    committed(tmp_path, "table1", rows)
    committed(tmp_path, "strongest", rows_of("mtt10x1", {"convnet3": (0.5, 0.7)}, 1800, "", scale="gpu"))
    head, rule, first, second = which.table(tmp_path).splitlines()
    assert head.startswith("| method | scale |") and rule.startswith("|---|---|")
    # 1800 s on two threads are one core-hour.
    assert first == "| mtt | `gpu` | 10 | dsa, 3 epochs | 60.0 | 60.0 | – | – | – | 1.00 | – | 1.5 |"
    assert second == "| dm | `small` | 10 | dsa, 3 epochs | 20.0 | 30.0 | 10.0 | – | – | 0.50 | 0.00 | 1.5 |"
