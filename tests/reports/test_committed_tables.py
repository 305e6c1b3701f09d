"""The tables of all committed rows, to the last digit, as they were when they were committed.

``PYTHONPATH=tests python tests/reports/test_committed_tables.py`` writes the hashes anew.
"""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest_rows import answers_of
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.reports.tables import markdown, sheet
from moe_distill.results.aggregate import accuracy_curve
from moe_distill.results.comparison import compare
from moe_distill.results.question import paper_rows, to_frame

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
GOLDEN = ROOT / "tests" / "golden"
RECORDED = sorted(path.parent.name for path in EXPERIMENTS.glob("*/results.csv"))
WHOLE = "table4"  # whose text is committed whole, so that a difference can be read
UNKNOWN = ("accuracy_last", "accuracy_best", "iterations", "dcor2_unbiased", "epochs", "images_decoded")
UNKNOWN += ("set_fingerprint",)


def question_of(name):
    """Return what an experiment asks, with the published accuracies."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("config", [f"+experiment={name}", "scale=small", "paths.tables=null"])
    return replace(
        instantiate(cfg.question, _convert_="all"), paper=paper_rows(EXPERIMENTS / name / "paper.csv")
    )


def rows_of(name):
    """Return the committed rows of an experiment, each cell as its text."""
    with (EXPERIMENTS / name / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines_of(frame):
    """Return the lines of a frame as text, numbers to twelve digits."""
    return "\n".join(
        " | ".join(f"{value:.12g}" if isinstance(value, float) else str(value) for value in line)
        for line in frame.iter_rows()
    )


def texts_of(name):
    """Return all that the rows of an experiment say: tables, leads, curves, and the table while rows are
    missing."""
    question, rows = question_of(name), rows_of(name)
    missing = [{**row, **dict.fromkeys(UNKNOWN)} if i % 3 == 0 else row for i, row in enumerate(rows)]
    texts = {
        "table": markdown(sheet(answers_of(rows, question))),
        "leads": lines_of(compare(to_frame(rows, question), question)),
    }
    texts["table of some"] = markdown(sheet(answers_of(missing, question)))
    texts["table by roster"] = markdown(sheet(answers_of(rows, replace(question, against={}, lines=None))))
    if question.axis is not None:
        texts |= {
            f"along {by}": lines_of(accuracy_curve(to_frame(rows, question), question, by))
            for by in ("variant", "architecture")
        }
    return texts


def hashes_of(texts):
    """Return a short hash of each text."""
    return {what: hashlib.sha256(text.encode()).hexdigest()[:16] for what, text in texts.items()}


@pytest.mark.parametrize("name", RECORDED)
def test_committed_rows_say_what_they_said(name):
    texts = texts_of(name)
    if name == WHOLE:
        assert texts["table"] == (GOLDEN / f"{WHOLE}.md").read_text()
    assert hashes_of(texts) == json.loads((GOLDEN / "tables.json").read_text())[name]


if __name__ == "__main__":
    every = {name: texts_of(name) for name in RECORDED}
    (GOLDEN / f"{WHOLE}.md").write_text(every[WHOLE]["table"])
    (GOLDEN / "tables.json").write_text(
        json.dumps({n: hashes_of(t) for n, t in every.items()}, indent=1) + "\n"
    )
