"""Sets judged otherwise than by their students' accuracies, in the words of result rows: probes, and scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from moe_distill.reports.tables import Entry, Line, Sheet, best_of, entry, grouped
from moe_distill.results.aggregate import aggregate
from moe_distill.results.comparison import compare, describe_replicates, format_difference
from moe_distill.results.question import Question, to_frame
from moe_distill.results.rows import COLUMNS, Row
from moe_distill.results.wording import count

# Columns of ``scores.csv`` by what they are called; of the first three more is better and their leads are told.
SCORES = {"LRS": "lrs", "ARS": "ars", "IOR": "ior", "HLR": "hlr", "α": "alpha", "β": "beta"}
LED = tuple(SCORES)[:3]
_LEAST = ("HLR",)
_SETTINGS = ("w", "gamma", "select_on", "held_out")


def probed(lines: Sequence[Mapping[str, str]]) -> list[Row]:
    """Return lines of ``probe.csv`` as rows of students, those left out that do not tell what their set is."""
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
    """Return lines of ``scores.csv`` as rows: a score stands for the architecture, a network's number for the seed.

    So replicates of a score are networks, and two sets are paired by network.
    """
    rows: list[Row] = []
    networks = list(dict.fromkeys(line["architecture"] for line in lines))
    for line in lines:
        about = {c: line[c] for c in (*COLUMNS, *_SETTINGS) if c in line}
        about = {
            **dict.fromkeys(COLUMNS, ""),
            **about,
            "recipe": line["syn_any_recipe"],
            "seed": str(networks.index(line["architecture"])),
        }
        rows += [{**about, "architecture": name, "accuracy_last": line[column]} for name, column in SCORES.items()]
    return rows


def _but(line: Mapping[str, str], *columns: str) -> dict[str, str]:
    return {c: v for c, v in line.items() if c not in columns}


def score_leads(rows: Sequence[Row], question: Question) -> list[dict[str, Any]]:
    """Return the lines of ``compare`` for the scores of which more is better, paired by network.

    Raises:
        InputError: See :func:`~moe_distill.results.question.to_frame`.
    """
    lines = [c for c in compare(to_frame(rows, question), question).to_dicts() if c["architecture"] in LED]
    told = {c["n"]: f"{count([c['n']], 'network')}, one distillation seed" for c in lines}
    return [{**c, "over": told[c["n"]] if "pair" in c["over"] else c["over"]} for c in lines]


def score_sheet(rows: Sequence[Row], question: Question) -> Sheet:
    """Return the table of scores, times 100: sets by data set, budget and method, where there are several of these.

    Raises:
        InputError: See :func:`~moe_distill.results.aggregate.aggregate`.
    """
    found = [c for c in aggregate(to_frame(rows, question), question).to_dicts() if c["architecture"] in SCORES]
    leads = score_leads(rows, question)
    kinds = list(dict.fromkeys(c["kind"] for c in leads))
    columns = [(name, kind) for name in SCORES for kind in ("", *(kinds if name in LED else ()))]
    by = {(c["dataset"], c["variant"], c["architecture"]): c for c in found}
    best = best_of([c for c in found if c["architecture"] not in _LEAST])
    groups: dict[str, list[Line]] = {}
    for title, variant in grouped(found):
        of = (variant["dataset"], variant["variant"])
        held = {(s, ""): entry(by.get((*of, s)), best.get((of[0], variant["budget"], s))) for s in SCORES}
        own = [c for c in leads if (c["dataset"], c["variant"]) == of]
        held |= {(c["architecture"], c["kind"]): Entry(format_difference(c)) for c in own}
        groups.setdefault(title, []).append(Line(of[1], tuple(held.get(column, Entry("")) for column in columns)))
    heads = ("set", *(f"over {kind}" if kind else name for name, kind in columns))
    return Sheet(heads, groups, tuple(_notes(rows, found, leads)))


def _notes(rows: Sequence[Row], found: Sequence[Row], leads: Sequence[Row]) -> list[str]:
    datasets = dict.fromkeys(c["dataset"] for c in found)
    networks = count([len({r["seed"] for r in rows})], "network")
    seeds = count(sorted(c["distillations"] for c in found), "distillation seed")
    notes = [
        f"DD-Ranking's scores on {' and '.join(datasets)}, times 100: mean ± standard deviation of the sample over "
        f"{networks} ({seeds}); the best of each budget in bold.",
        "Of HLR less is better, of the others more; a set no better than its baselines has 26.9 in LRS and ARS.",
    ]
    if overs := dict.fromkeys(c["over"] for c in leads if c["difference"] is not None):
        notes.append(
            "Beside a score: lead in it over an opponent of the same budget and recipe, times 100, ± half of the 95 % "
            f"interval over {describe_replicates(overs)}."
        )
    return notes
