"""The page of a run: one HTML file that needs nothing else, built from rows, costs and sets."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from moe_distill.pipelines.charts import accuracy_svg, curve_panels
from moe_distill.pipelines.drawing import colours_of, finite, legend, swatch
from moe_distill.pipelines.layout import count, section, whole_page
from moe_distill.pipelines.pictures import gallery
from moe_distill.pipelines.rows import advantage, in_percent, table, variant_names
from moe_distill.synthetic import SyntheticSet, Union, union
from moe_distill.training.fit import read_curves

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Accuracies:
    """Accuracies (fractions, one a student) by variant and network, with the rows they come from."""

    rows: Sequence[Row]
    networks: list[str]
    cells: dict[str, dict[str, list[float]]]

    @property
    def baseline(self) -> str | None:
        """The first variant of random real images."""
        return next((v for v in self.cells if v.startswith("random")), None)

    @property
    def colours(self) -> dict[str, int]:
        """Numbers of the style sheet's colours by variant."""
        return colours_of([v for v in self.cells if v != self.baseline], self.baseline)

    def means(self, variant: str) -> list[float]:
        """Return a variant's mean by network and, last, the average of these; NaN where there is none."""
        by = [statistics.mean(finite(self.cells[variant].get(n, [])) or [math.nan]) for n in self.networks]
        return [*by, statistics.mean(finite(by) or [math.nan])]

    def best(self) -> str | None:
        """Return the variant of the highest average, the baseline only where there is no other."""
        known = [v for v in self.cells if math.isfinite(self.means(v)[-1])]
        return max(known, key=lambda v: (v != self.baseline, self.means(v)[-1]), default=None)


@dataclass(frozen=True)
class Distilled:
    """A set as the page shows it."""

    title: str
    colour: int
    sets: Union
    manifest: Row
    curves: Sequence[tuple[int, str, float]]


def build_page(
    title: str, command: str, rows: Sequence[Row], costs: Sequence[Row], sets: Sequence[tuple[str, Path]], facts: Row
) -> str:
    """Return the page of a run as HTML that makes no request anywhere; what is missing leaves its section out.

    Args:
        title: The heading.
        command: What repeats the run.
        rows: Result rows with the columns of ``rows.COLUMNS``; accuracies are fractions.
        costs: What each stage cost: ``stage, what, found, seconds, peak_memory_mb`` (MiB), ``steps, images``.
        sets: Label and place of each distilled set: a folder as the store holds it, or one expert's file.
        facts: What the run ran on, shown as it is.

    Raises:
        InputError: A set is missing or damaged.
    """
    accuracies = Accuracies(rows, *table(rows))
    distilled = [_read(label, path, accuracies) for label, path in dict.fromkeys(sets)]
    spent = _merged(costs)
    sections = [
        _headline(title, accuracies, spent),
        _table_of(accuracies),
        _chart_of(accuracies),
        _images(distilled),
        _curves(distilled),
        _costs(spent),
        _repeat(command, facts),
    ]
    return whole_page(title, sections)


def _read(label: str, path: Path, accuracies: Accuracies) -> Distilled:
    loaded = SyntheticSet.load(path)
    sets = loaded if isinstance(loaded, Union) else union([loaded])
    prints = (str(r["set_fingerprint"]) for r in accuracies.rows)
    variant = dict(zip(prints, variant_names(accuracies.rows), strict=True)).get(sets.fingerprint(), label)
    colour = accuracies.colours.get(variant, 0)
    noted = path / "manifest.json"
    manifest = json.loads(noted.read_text()) if noted.is_file() else {}
    title = f"<h3>{swatch(colour)}{escape(variant)}</h3>"
    return Distilled(title, colour, sets, manifest, read_curves(path / "curves.csv"))


def _headline(title: str, accuracies: Accuracies, spent: Sequence[Row]) -> str:
    tiles: list[tuple[str, str]] = []
    sentence = "No network was trained in this run."
    if best := accuracies.best():
        average = f"{100 * accuracies.means(best)[-1]:.1f}\u00a0%"
        over, tiles = _compared(accuracies, best)
        networks = count([len(finite(accuracies.means(best)[:-1]))], "network")
        sentence = f"<strong>{escape(best)}</strong> reaches {average} on average over {networks}{over}."
        tiles = [(average, f"test accuracy, {best}"), *tiles]
    if spent:
        found = f"{sum(c['found'] for c in spent)} of {len(spent)}"
        tiles += [(_duration(spent), "of computing"), (found, "stages found finished")]
    boxes = "".join(f'<div class="card tile"><b>{escape(b)}</b><span>{escape(t)}</span></div>' for b, t in tiles)
    data = "".join(f" of {escape(d)}" for d in dict.fromkeys(str(r["dataset"]) for r in accuracies.rows))
    head = f'<p class="kicker">Dataset distillation{data} with a mixture of experts</p><h1>{escape(title)}</h1>'
    return f'<header>{head}<p class="lead">{sentence}</p><div class="tiles">{boxes}</div></header>'


def _compared(accuracies: Accuracies, best: str) -> tuple[str, list[tuple[str, str]]]:
    """Return how the best variant stands to the baseline: the end of a sentence, and a tile."""
    mean, half, pairs = advantage(accuracies.cells, best, accuracies.baseline or best)
    if accuracies.baseline in (None, best) or not math.isfinite(mean):
        return "", []
    text = f", {abs(100 * mean):.1f} points {'above' if mean >= 0 else 'below'} random real images"
    tile = f"{100 * mean:+.1f}"
    if math.isfinite(half):
        low, high = 100 * (mean - half), 100 * (mean + half)
        text += f" (95\u00a0% interval {low:+.1f} to {high:+.1f}, {pairs} pairs of students)"
        tile += f" ± {100 * half:.1f}"
    return text, [(tile, "points over random images")]


def _table_of(accuracies: Accuracies) -> str:
    if not accuracies.cells:
        return ""
    means = {v: accuracies.means(v) for v in accuracies.cells}
    tops = [max(finite(column), default=None) for column in zip(*means.values(), strict=True)]
    lines = []
    for variant, by in accuracies.cells.items():
        held = [*(by.get(n, []) for n in accuracies.networks), means[variant][-1:]]
        texts = [in_percent(finite(v)) or "–" for v in held]
        marks = [' class="best"' * (mean == top) for mean, top in zip(means[variant], tops, strict=True)]
        figures = "".join(f"<td{mark}>{text}</td>" for mark, text in zip(marks, texts, strict=True))
        name = f'<th scope="row">{swatch(accuracies.colours[variant])}{escape(variant)}</th>'
        lines.append(f"<tr>{name}{figures}</tr>")
    students = [v for by in accuracies.cells.values() for v in by.values()]
    lost = sum(len(v) - len(finite(v)) for v in students)
    counted = count(sorted(len(finite(v)) for v in students), "student")
    note = f"Test accuracy in percent: mean ± standard deviation of {counted} per network, the best in bold."
    note += f" Left out: {count([lost], 'student')} that diverged." if lost else ""
    return section("Accuracy", note, [_table(["trained on", *accuracies.networks, "average"], ["".join(lines)])])


def _chart_of(accuracies: Accuracies) -> str:
    if accuracies.best() is None:
        return ""
    svg = accuracy_svg("accuracy", accuracies.networks, accuracies.cells, accuracies.colours)
    note = "Mean of the students; whiskers reach one standard deviation to either side."
    return section("Accuracy by network", note, [f'{legend(accuracies.colours)}<div class="scroll">{svg}</div>'])


def _images(distilled: Sequence[Distilled]) -> str:
    cards = []
    for shown in distilled:
        said = [count([len(shown.sets.members)], "expert")]
        if shown.manifest:
            said += [count([n], "iteration") for n in [shown.manifest["iterations"]] if n]
            said += [f"dCor² unbiased {d:.3f}" for d in [shown.manifest["dcor2_unbiased"]] if d is not None]
        cards.append(f'{shown.title}<p class="soft">{" · ".join(said)}</p>{gallery(shown.sets.members)}')
    return section("Distilled images", "What each expert stores, a row for each class.", cards, "sets")


def _curves(distilled: Sequence[Distilled]) -> str:
    panels = [(s, curve_panels(f"curves-{n}", s.curves, s.colour)) for n, s in enumerate(distilled)]
    note = "Matching loss of each expert, and how much the experts depend on one another: lower is more diverse."
    return section("Curves", note, [shown.title + svgs for shown, svgs in panels if svgs])


def _costs(spent: Sequence[Row]) -> str:
    if not spent:
        return ""
    longest, bodies = max(c["seconds"] for c in spent) or 1.0, []
    for stage in dict.fromkeys(c["stage"] for c in spent):
        own = [c for c in spent if c["stage"] == stage]
        lines = (_cost(c["what"], [c], 100 * c["seconds"] / longest) for c in own)
        bodies.append("".join([_cost(stage, own), *lines]))
    heads = ("stage", "time", "", "memory", "steps", "images")
    found = [c for c in spent if c["found"]]
    note = f"Found in the store, with a pale bar: {len(found)} of {count([len(spent)], 'stage')}, {_duration(found)}."
    return section("Cost", note, [_table(heads, [*bodies, _cost("total", spent)])])


def _cost(name: str, costs: Sequence[Row], percent: float | None = None) -> str:
    """Return a line of the cost table: one stage with its bar, or the sum of several without."""
    found = percent is not None and costs[0]["found"]
    badge = '<span class="badge">found</span>' * found
    bar = "" if percent is None else f'<span class="bar{" found" * found}" style="width:{percent:.1f}%"></span>'
    memory = max(c["peak_memory_mb"] for c in costs)
    size = f"{memory:.0f} MiB" if memory < 1024 else f"{memory / 1024:.1f} GiB"
    sums = "".join(f"<td>{sum(c[k] for c in costs):,}</td>" for k in ("steps", "images"))
    figures = f'<td>{_duration(costs)}</td><td class="gauge">{bar}</td><td>{size}</td>{sums}'
    kind = ' class="sum"' * (percent is None)
    return f'<tr{kind}><th scope="row">{escape(name)}{badge}</th>{figures}</tr>'


def _repeat(command: str, facts: Row) -> str:
    said = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(fact))}</dd>" for name, fact in facts.items())
    return section("How to repeat", "", [f"<pre><code>{escape(command)}</code></pre><dl>{said}</dl>"])


def _merged(costs: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each stage once: what plans share is noted by each of them, and was found only if all of them found it."""
    once: dict[str, dict[str, Any]] = {}
    for cost in costs:
        kept = once.setdefault(json.dumps({**cost, "found": None}), dict(cost))
        kept["found"] = kept["found"] and cost["found"]
    return list(once.values())


def _duration(costs: Sequence[Row]) -> str:
    seconds = sum(c["seconds"] for c in costs)
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _table(heads: Sequence[str], bodies: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tbody>{lines}</tbody>" for lines in bodies)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{body}</table></div>'
