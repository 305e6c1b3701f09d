"""Sets judged otherwise than by their students' accuracies, in the words of result rows: probes, and
scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moe_distill.reports.answers import Answers, Cell, Lead
from moe_distill.reports.tables import Entry, Line, Sheet, best_of, entry
from moe_distill.results.comparison import describe_replicates, format_difference
from moe_distill.results.rows import COLUMNS, Row
from moe_distill.results.wording import count

# Columns of ``scores.csv`` by what they are called; of the first three more is better and their leads are
# told.
SCORES = {"LRS": "lrs", "ARS": "ars", "IOR": "ior", "HLR": "hlr", "α": "alpha", "β": "beta"}
LED = tuple(SCORES)[:3]
_LEAST = ("HLR",)
_SETTINGS = ("w", "gamma", "select_on", "held_out")


def probed(lines: Sequence[Mapping[str, str]]) -> list[Row]:
    """Return lines of ``probe.csv`` as rows of students, those left out that do not tell what their set
    is.
    """
    return [
        {
            **dict.fromkeys(COLUMNS, ""),
            **_but(line, "accuracy", "accuracy_untrained"),
            "accuracy_last": line["accuracy"],
        }
        for line in lines
        if line.get("noe")
    ]


def scored(lines: Sequence[Mapping[str, str]]) -> list[Row]:
    """Return lines of ``scores.csv`` as rows: a score stands for the architecture, a network's number for the
    seed.

    So replicates of a score are networks, and two sets are paired by network.
    """
    rows: list[Row] = []
    networks = list(dict.fromkeys(line["architecture"] for line in lines))
    for line in lines:
        about = {c: line[c] for c in (*COLUMNS, *_SETTINGS) if c in line}
        network = {"recipe": line["syn_any_recipe"], "seed": str(networks.index(line["architecture"]))}
        about = {**dict.fromkeys(COLUMNS, ""), **about, **network}
        rows += [
            {**about, "architecture": name, "accuracy_last": line[column]} for name, column in SCORES.items()
        ]
    return rows


def _but(line: Mapping[str, str], *columns: str) -> dict[str, str]:
    return {c: v for c, v in line.items() if c not in columns}


def score_leads(answers: Answers) -> list[Lead]:
    """Return the leads in the scores of which more is better, paired by network."""
    lines = [c for c in answers.leads if c.architecture in LED]
    networks = {c.n: f"{count([c.n], 'network')}, one distillation seed" for c in lines}
    return [replace(c, over=networks[c.n]) if "pair" in c.over else c for c in lines]


def score_sheet(answers: Answers) -> Sheet:
    """Return the table of scores, times 100: sets by data set, budget and method, where there are several of
    these.
    """
    found = [c for c in answers.cells if c.architecture in SCORES]
    leads = score_leads(answers)
    kinds = list(dict.fromkeys(c.kind for c in leads))
    columns = [(name, kind) for name in SCORES for kind in ("", *(kinds if name in LED else ()))]
    by = {(c.dataset, c.variant, c.architecture): c for c in found}
    best = best_of([c for c in found if c.architecture not in _LEAST])
    led = {(c.dataset, c.variant, c.architecture, c.kind): Entry(format_difference(vars(c))) for c in leads}
    groups: dict[str, list[Line]] = {}
    for v in answers.variants:
        of = (v.dataset, v.name)
        entries = [
            led.get((*of, name, kind), Entry(""))
            if kind
            else entry(by.get((*of, name)), best.get((v.dataset, v.budget, name)))
            for name, kind in columns
        ]
        groups.setdefault(v.group, []).append(Line(v.name, tuple(entries)))
    heads = ("set", *(f"over {kind}" if kind else name for name, kind in columns))
    return Sheet(heads, groups, tuple(_notes(answers, found, leads)))


def _notes(answers: Answers, found: Sequence[Cell], leads: Sequence[Lead]) -> list[str]:
    networks = count([answers.replicates], "network")
    seeds = count(sorted(c.distillations for c in found), "distillation seed")
    notes = [
        f"DD-Ranking's scores on {' and '.join(answers.datasets)}, times 100: mean ± standard deviation of the sample "
        f"over {networks} ({seeds}); the best of each budget in bold.",
        "Of HLR less is better, of the others more; a set no better than its baselines has 26.9 in LRS and ARS.",
    ]
    if overs := dict.fromkeys(c.over for c in leads if c.difference is not None):
        notes.append(
            "Beside a score: lead in it over an opponent of the same budget and recipe, times 100, ± half of the 95 % "
            f"interval over {describe_replicates(overs)}."
        )
    return notes
