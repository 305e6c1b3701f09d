"""Every question asked of the paper has an experiment, and every experiment its yaml and its page."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from moe_distill.config import conf_dir, experiments_dir

FOLDERS = Path(experiments_dir())
EXPERIMENTS = sorted(p.stem for p in (Path(conf_dir()) / "experiment").glob("*.yaml"))
ASKED = [
    *(f"T{n}" for n in range(1, 7)),
    *(f"R1.{n}" for n in range(1, 7)),
    *(f"R2.{n}" for n in range(1, 8)),
    *(f"R3.{n}" for n in range(1, 9)),
    *(f"R4.{n}" for n in range(1, 6)),
    *(f"P{n}" for n in range(1, 5)),
    *("D1", "D2", "own", "own", "own"),
]


def listed():
    """Return (item, experiments) of the list in experiments/README.md."""
    lines = re.findall(r"^\| (\S+) \| .* \| (.*) \|$", (FOLDERS / "README.md").read_text(), re.MULTILINE)
    return [(item, re.findall(r"`(\w+)`", names)) for item, names in lines if "`" in names]


def test_every_question_has_an_experiment_and_every_experiment_answers_one():
    assert [item for item, _ in listed()] == ASKED
    assert {name for _, names in listed() for name in names} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n != "quickstart"])
def test_every_experiment_says_its_claim_and_its_command(name):
    text = (FOLDERS / name / "README.md").read_text()
    question = OmegaConf.load(Path(conf_dir()) / "experiment" / f"{name}.yaml").question
    assert question.claim.endswith(".") and f"+experiment={name}" in text
    assert re.search(r"\*\*(Claim|Question)", text) and re.search(r"^(## )?.*[Mm]easured", text, re.MULTILINE)
