"""The table of the README's "Which method should I use?", made of committed rows.

``python docs/which_method.py`` writes it into the README; a test compares both.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from moe_distill.reports.tables import MISSING
from moe_distill.results.aggregate import AVERAGE
from moe_distill.results.row_files import merge_rows
from moe_distill.results.rows import budget, threads
from moe_distill.results.schema import ResultRow
from moe_distill.results.wording import percent

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
# The experiments whose sets of one expert are shown.
SOURCES = ("accuracy_vs_time", "strongest", "sequence", "table1")
NETWORKS = ("convnet3", "vgg11", "resnet18", "alexnet")
_BLOCK = re.compile(r"(?<=<!-- which method -->\n).*?(?=<!-- which method, end -->)", re.DOTALL)
_SET = ("dataset", "scale", "method", "recipe", "epochs", "budget")
_HEADS = (
    "method",
    "scale",
    "images a class",
    "recipe",
    AVERAGE,
    *NETWORKS,
    "core-hours",
    "of teachers",
    "GiB",
)


def table(experiments: Path) -> str:
    """Return the table of sets of one expert, the most accurate of each budget first.

    Of sets that differ in their iterations alone, those of the most are shown.

    Args:
        experiments: The folder of the experiments and their committed tables.
    """
    files = [experiments / name / "results.csv" for name in SOURCES]
    rows = merge_rows([file for file in files if file.is_file()], ResultRow)
    rows = rows.filter(pl.col("noe") == 1, pl.col("accuracy_last").is_finite()).with_columns(budget=budget())
    # Students in stages have a single one here, so that they are the plain ones by another name.
    rows = rows.filter(~pl.col("recipe").str.ends_with("-cumulative"))
    rows = rows.filter(pl.col("iterations") == pl.col("iterations").max().over(_SET))
    hours = pl.col("distill_seconds", "teacher_seconds") * threads() / 3600
    by_network = (
        rows.with_columns(hours)
        .group_by(*_SET, "architecture", maintain_order=True)
        .agg(
            pl.col("accuracy_last", "distill_seconds", "teacher_seconds").mean(),
            pl.col("peak_memory_mb").max(),
        )
    )
    lines = [_line_of(of_set) for _, of_set in by_network.group_by(*_SET, maintain_order=True)]
    lines.sort(key=lambda line: (line[0], -line[1]))
    rule = "|".join(["---"] * 4 + ["---:"] * (len(_HEADS) - 4))
    return "\n".join([_joined(_HEADS), f"|{rule}|", *(text for _, _, text in lines)]) + "\n"


def _line_of(of_set: pl.DataFrame) -> tuple[int, float, str]:
    """Return a set's budget, its mean accuracy, and its line; its rows are one for each network."""
    first = of_set.row(0, named=True)
    means = dict(of_set.select("architecture", "accuracy_last").iter_rows())
    average = sum(means.values()) / len(means)
    accuracies = [percent(average), *(percent(means[n]) if n in means else MISSING for n in NETWORKS)]
    # The same set for all networks.
    times = [first["distill_seconds"], first["teacher_seconds"]]
    costs = [MISSING if time is None else f"{time:.2f}" for time in times]
    memory = f"{of_set['peak_memory_mb'].max() / 1024:.1f}"
    recipe = f"{first['recipe']}, {first['epochs']} epochs"
    words = (first["method"], f"`{first['scale']}`", first["budget"], recipe, *accuracies, *costs, memory)
    return first["budget"], average, _joined(words)


def _joined(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def updated(readme: str) -> str:
    """Return the README's text with the table made anew."""
    return _BLOCK.sub(lambda _: table(ROOT / "experiments"), readme, count=1)


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
