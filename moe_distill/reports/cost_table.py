"""What stages cost, as the table of a page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from moe_distill.results.stages import StageCost
from moe_distill.results.wording import count


@dataclass(frozen=True)
class CostLine:
    """What one stage cost, or several together.

    Attributes:
        name: Of the stage, or what it worked on.
        found: Whether it was found in the store.
        percent: Its share of the longest stage's time; None of sums, which have no bar.
        figures: Time, memory, steps and images, in words.
    """

    name: str
    found: bool
    percent: float | None
    time: str
    figures: tuple[str, str, str]


@dataclass(frozen=True)
class Costs:
    """What stages cost, each stage's sum above its parts.

    Attributes:
        groups: The lines of each stage.
        total: Of all.
        note: How much was found in the store.
    """

    groups: Sequence[Sequence[CostLine]]
    total: CostLine
    note: str


def costs_of(spent: Sequence[StageCost]) -> Costs | None:
    """Return the costs of stages; None where there are none."""
    if not spent:
        return None
    longest = max(cost.seconds for cost in spent) or 1.0
    groups = []
    for stage in dict.fromkeys(cost.stage for cost in spent):
        members = [cost for cost in spent if cost.stage == stage]
        parts = [_cost(cost.what, [cost], 100 * cost.seconds / longest) for cost in members]
        groups.append([_cost(stage, members), *parts])
    found = [cost for cost in spent if cost.found]
    stages = count([len(spent)], "stage")
    note = f"Found in the store, with a pale bar: {len(found)} of {stages}, {duration(seconds_of(found))}."
    return Costs(groups, _cost("total", spent), note)


def _cost(name: str, costs: Sequence[StageCost], percent: float | None = None) -> CostLine:
    memory = max(cost.peak_memory_mb for cost in costs)
    size = f"{memory:.0f} MiB" if memory < 1024 else f"{memory / 1024:.1f} GiB"
    sums = f"{sum(cost.steps for cost in costs):,}", f"{sum(cost.images for cost in costs):,}"
    found = percent is not None and costs[0].found
    return CostLine(name, found, percent, duration(seconds_of(costs)), (size, *sums))


def merged_costs(costs: Sequence[StageCost]) -> list[StageCost]:
    """Return each stage once: what plans share is noted by each of them, and was found only if all of them
    found it.
    """
    once: dict[str, StageCost] = {}
    for cost in costs:
        first = once.setdefault(json.dumps({**vars(cost), "found": None}), cost)
        once[json.dumps({**vars(cost), "found": None})] = replace(first, found=first.found and cost.found)
    return list(once.values())


def seconds_of(costs: Sequence[StageCost]) -> float:
    """Return the time of stages together."""
    return sum(cost.seconds for cost in costs)


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
