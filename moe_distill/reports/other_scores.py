"""Sets evaluated in other ways, by probes or scores, converted to result rows so that the same tables fit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moe_distill.reports.answers import Answers, Cell, Lead
from moe_distill.reports.tables import Entry, Line, Sheet, best_of, entry
from moe_distill.results.comparison import describe_replicates, format_difference
from moe_distill.results.rows import COLUMNS
from moe_distill.results.wording import count

# Columns of ``scores.csv`` by the names of the scores. More is better for the first three, whose leads are
# shown.
SCORES = {"LRS": "lrs", "ARS": "ars", "IOR": "ior", "HLR": "hlr", "α": "alpha", "β": "beta"}
SCORES_WITH_LEADS = tuple(SCORES)[:3]
_LESS_IS_BETTER = ("HLR",)
_SETTINGS = ("w", "gamma", "select_on", "held_out")


def probed(lines: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return lines of ``probe.csv`` as rows of students, without lines that do not describe their set."""
    rows = []
    for line in lines:
        if line.get("noe"):  # empty for sets from elsewhere, whose experts are not known
            columns = {c: v for c, v in line.items() if c not in ("accuracy", "accuracy_untrained")}
            rows.append({**dict.fromkeys(COLUMNS, ""), **columns, "accuracy_last": line["accuracy"]})
    return rows


def scored(lines: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return lines of ``scores.csv`` as rows: the score replaces the architecture, the network the seed.

    Replicates of a score are then networks, and two sets are paired by network.
    """
    rows: list[dict[str, str]] = []
    networks = list(dict.fromkeys(line["architecture"] for line in lines))
    for line in lines:
        columns = {c: line[c] for c in (*COLUMNS, *_SETTINGS) if c in line}
        network = {"recipe": line["syn_any_recipe"], "seed": str(networks.index(line["architecture"]))}
        shared = {**dict.fromkeys(COLUMNS, ""), **columns, **network}
        rows += [
            {**shared, "architecture": name, "accuracy_last": line[column]} for name, column in SCORES.items()
        ]
    return rows


def score_leads(answers: Answers) -> list[Lead]:
    """Return the leads in the scores of which more is better, paired by network."""
    leads = []
    for lead in answers.leads:
        if lead.architecture in SCORES_WITH_LEADS:
            # In rows of scores a pair is one of networks, not of students.
            over = (
                f"{count([lead.n], 'network')}, one distillation seed" if "pair" in lead.over else lead.over
            )
            leads.append(replace(lead, over=over))
    return leads


def score_sheet(answers: Answers) -> Sheet:
    """Return the table of scores, times 100, grouped by data set, budget and method where these vary."""
    cells = [c for c in answers.cells if c.architecture in SCORES]
    leads = score_leads(answers)
    kinds = list(dict.fromkeys(c.kind for c in leads))
    columns: list[tuple[str, str]] = []  # each score, and for the leads in it also the kind of opponent
    for name in SCORES:
        columns += [(name, ""), *((name, kind) for kind in kinds if name in SCORES_WITH_LEADS)]
    scores = {(c.dataset, c.variant, c.architecture): c for c in cells}
    best = best_of([c for c in cells if c.architecture not in _LESS_IS_BETTER])
    differences = {
        (c.dataset, c.variant, c.architecture, c.kind): Entry(format_difference(c.difference, c.half))
        for c in leads
    }
    groups: dict[str, list[Line]] = {}
    for v in answers.variants:
        entries = []
        for name, kind in columns:
            if kind:
                entries.append(differences.get((v.dataset, v.name, name, kind), Entry("")))
            else:
                score = scores.get((v.dataset, v.name, name))
                entries.append(entry(score, best.get((v.dataset, v.budget, name))))
        groups.setdefault(v.group, []).append(Line(v.name, tuple(entries)))
    heads = ("set", *(f"over {kind}" if kind else name for name, kind in columns))
    return Sheet(heads, groups, tuple(_notes(answers, cells, leads)))


def _notes(answers: Answers, cells: Sequence[Cell], leads: Sequence[Lead]) -> list[str]:
    networks = count([answers.replicates], "network")
    seeds = count(sorted(c.distillations for c in cells), "distillation seed")
    notes = [
        f"DD-Ranking's scores on {' and '.join(answers.datasets)}, times 100: mean ± standard deviation of "
        f"the sample over {networks} ({seeds}); the best of each budget in bold.",
        "Of HLR less is better, of the others more; a set no better than its baselines has 26.9 in LRS and "
        "ARS.",
    ]
    if overs := dict.fromkeys(c.over for c in leads if c.difference is not None):
        notes.append(
            "Beside a score: lead in it over an opponent of the same budget and recipe, times 100, ± half of "
            f"the 95 % interval over {describe_replicates(overs)}."
        )
    return notes
