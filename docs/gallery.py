"""The gallery: the pages of experiments, rendered from the rows that are committed with them."""

import contextlib
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.utils import instantiate

from moe_distill.config.composing import configured
from moe_distill.config.schema import experiments_dir
from moe_distill.results.frames import texts_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import read_rows
from moe_distill.results.schema import ResultRow
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import committed_sweep, report_sweep
from moe_distill.terminal import quiet

EXPERIMENTS = Path(experiments_dir() or "experiments")
SCALE = "small"
# Where each file of a sweep's folder is put: a .md would become a page.
_SHOWN = {"table.html": "table.html", "table.md": "table.md.txt", "table.tex": "table.tex"}


def with_rows() -> list[str]:
    """Return the names of the experiments whose rows are committed."""
    return sorted(table.parent.name for table in EXPERIMENTS.glob("*/results.csv"))


def gallery(folder: Path, experiments: list[str]) -> None:
    """Write a page for each experiment, and one that lists them."""
    lines = []
    for name in experiments:
        question = _question(name)
        _render(folder / name, name, question)
        rows = len(read_rows(EXPERIMENTS / name / "results.csv", ResultRow))
        lines.append(f"| [{name}]({name}/report.html) | {question.claim} | {rows} |")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.md").write_text(_INDEX + "\n".join(lines) + "\n", encoding="utf-8")


_INDEX = """# Gallery

Each page is what `moe-distill` writes when a sweep has ended. These are rendered from the rows that are
committed with the experiments (`experiments/<name>/results.csv`), so they have tables, intervals and
charts, and the costs and images only of stages that a machine has in its store: none here. What the rows
mean is said in the README beside them.

| page | claim under test | rows |
|---|---|---|
"""


def _question(name: str) -> Any:
    # No job has an output folder here, and nothing is written to this one.
    overrides = [f"+experiment={name}", f"scale={SCALE}", "paths.output=nowhere"]
    with configured(overrides, {}) as configuration:
        return instantiate(configuration.config.question, _convert_="all")


def _render(folder: Path, name: str, question: Any) -> None:
    table = EXPERIMENTS / name / "results.csv"
    command = f"moe-distill +experiment={name} scale={SCALE}"
    sweep = committed_sweep(table, command, question, SCALE)
    if sweep is None:  # rows of before jobs were recorded with them
        rows = tuple(texts_of(read_rows(table, ResultRow)))
        sweep = Sweep(command, asdict(question), (Cell(name, "committed-0", "", rows),), (SCALE,))
    with TemporaryDirectory() as place, quiet(False):
        work = Path(place) / name
        work.mkdir()
        sweep.write(work)
        report_sweep(work, FinishedRows(Store(Path(place) / "store"), EXPERIMENTS))
        folder.mkdir(parents=True)
        page = (work / "report.html").read_text(encoding="utf-8")
        for file, name in _SHOWN.items():
            page = page.replace(f'"./{file}"', f'"./{name}"')
            with contextlib.suppress(FileNotFoundError):  # without variants there is no table
                (folder / name).write_bytes((work / file).read_bytes())
        (folder / "report.html").write_text(page, encoding="utf-8")
