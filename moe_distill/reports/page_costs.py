"""What stages cost, as a section of a page."""

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from moe_distill.reports.layout import joined, section, table
from moe_distill.results.rows import Row
from moe_distill.results.wording import count


def costs_section(spent: Sequence[Row]) -> Markup:
    """Return the costs of stages, each stage's sum above its parts; nothing where there are none."""
    if not spent:
        return Markup("")
    longest, bodies = max(c["seconds"] for c in spent) or 1.0, []
    for stage in dict.fromkeys(c["stage"] for c in spent):
        own = [c for c in spent if c["stage"] == stage]
        lines = (_cost(c["what"], [c], 100 * c["seconds"] / longest) for c in own)
        bodies.append(joined([_cost(stage, own), *lines]))
    heads = ("stage", "time", "", "memory", "steps", "images")
    found = [c for c in spent if c["found"]]
    note = f"Found in the store, with a pale bar: {len(found)} of {count([len(spent)], 'stage')}, {duration(found)}."
    return section("Cost", note, [table(heads, [*bodies, _cost("total", spent)])])


def _cost(name: str, costs: Sequence[Row], percent: float | None = None) -> Markup:
    """Return a line of the cost table: one stage with its bar, or the sum of several without."""
    found = percent is not None and costs[0]["found"]
    badge = Markup('<span class="badge">found</span>') * found
    gauge = Markup('<span class="bar{}" style="width:{:.1f}%"></span>')
    bar = "" if percent is None else gauge.format(" found" * found, percent)
    memory = max(c["peak_memory_mb"] for c in costs)
    size = f"{memory:.0f} MiB" if memory < 1024 else f"{memory / 1024:.1f} GiB"
    sums = [f"{sum(c[k] for c in costs):,}" for k in ("steps", "images")]
    kind = Markup(' class="sum"') * (percent is None)
    html = Markup(
        '<tr{}><th scope="row">{}{}</th><td>{}</td><td class="gauge">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>'
    )
    return html.format(kind, name, badge, duration(costs), bar, size, *sums)


def merged_costs(costs: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each stage once: what plans share is noted by each of them, and was found only if all of them found it."""
    once: dict[str, dict[str, Any]] = {}
    for cost in costs:
        kept = once.setdefault(json.dumps({**cost, "found": None}), dict(cost))
        kept["found"] = kept["found"] and cost["found"]
    return list(once.values())


def duration(costs: Sequence[Row]) -> str:
    """Return the time of stages together, in words."""
    seconds = sum(c["seconds"] for c in costs)
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
