"""Every question asked of the paper has an experiment, and every experiment its yaml and its page."""

import re
import textwrap
from pathlib import Path

import pytest
from conftest_experiments import FOLDERS, listed, listed_experiments
from omegaconf import OmegaConf

from moe_distill.config.folders import conf_dir

EXPERIMENTS = sorted(p.stem for p in (Path(conf_dir()) / "experiment").glob("*.yaml"))
# What they show is no difference between distilled sets: costs, pictures, students of real data, a page to
# start from.
UNCOMPARED = {"cost", "cost_teachers", "viz_highres", "full_data", "quickstart"}
ASKED = [
    *(f"T{n}" for n in range(1, 7)),
    *(f"R1.{n}" for n in range(1, 7)),
    *(f"R2.{n}" for n in range(1, 8)),
    *(f"R3.{n}" for n in range(1, 9)),
    *(f"R4.{n}" for n in range(1, 6)),
    *(f"P{n}" for n in range(1, 5)),
    *("D1", "D2", *["own"] * 11),
]


def test_every_question_asked_of_the_paper_has_an_experiment():
    assert [item for item, _ in listed()] == ASKED
    assert all(names and {*names} <= set(EXPERIMENTS) for _, names in listed())


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n != "quickstart"])
def test_every_experiment_says_its_claim_its_reason_and_its_command(name):
    text = (FOLDERS / name / "README.md").read_text()
    question = OmegaConf.load(Path(conf_dir()) / "experiment" / f"{name}.yaml").question
    assert question.claim.endswith(".") and f"+experiment={name}" in text
    assert "**Why.** " in text  # a new experiment need not be in the list
    assert re.search(r"\*\*(Claim|Question)", text) and re.search(r"^(## )?.*[Mm]easured", text, re.MULTILINE)


def test_sets_are_compared_over_three_distillation_seeds_in_the_published_protocol():
    conf = Path(conf_dir())
    sweeps = {n: OmegaConf.load(conf / "experiment" / f"{n}.yaml").get("hydra", {}) for n in EXPERIMENTS}
    raw = {n: OmegaConf.to_container(OmegaConf.create(sweep)) for n, sweep in sweeps.items()}
    seeded = {n for n, sweep in raw.items() if "seed" in sweep.get("sweeper", {}).get("params", {})}
    # A new experiment may compare something else than sets.
    assert listed_experiments() - UNCOMPARED <= seeded and not UNCOMPARED & seeded
    assert {raw[n]["sweeper"]["params"]["seed"] for n in seeded} == {"${sweep.seed}"}
    seeds = {
        s: OmegaConf.load(conf / "scale" / f"{s}.yaml").sweep.seed for s in ("smoke", "small", "gpu", "paper")
    }
    assert seeds == {"smoke": "0", "small": "0", "gpu": "0", "paper": "0,1,2"}


def test_the_leads_that_no_table_shows_are_what_the_readme_says(capsys, monkeypatch):
    text = (FOLDERS / "README.md").read_text().partition("## Leads that no table shows")[2]
    code = textwrap.dedent(
        "\n".join(line for line in text.splitlines() if line.startswith("    ") or not line)
    )
    monkeypatch.chdir(FOLDERS.parent)
    exec(compile(code, "experiments/README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"  # (\S+ ± \S+)$", code, re.MULTILINE)
