"""The costs of stages, as the table of a page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from moe_distill.results.stages import StageCost
from moe_distill.results.wording import count


@dataclass(frozen=True)
class CostLine:
    """The cost of one stage, or of several together.

    Attributes:
        name: The stage's name, or what it worked on.
        found: Whether its result was found in the store.
        percent: Its time in percent of the longest stage's; None for sums, which have no bar.
        time: Its time in words.
        figures: Memory, steps and images, in words.
    """

    name: str
    found: bool
    percent: float | None
    time: str
    figures: tuple[str, str, str]


@dataclass(frozen=True)
class Costs:
    """The costs of stages.

    Attributes:
        groups: The lines of each stage, its sum above its parts.
        total: The sum of all.
        note: How much was found in the store.
    """

    groups: Sequence[Sequence[CostLine]]
    total: CostLine
    note: str


def costs_of(costs: Sequence[StageCost]) -> Costs | None:
    """Return the table of these costs; None where there are none."""
    if not costs:
        return None
    longest = max(cost.seconds for cost in costs) or 1.0  # the length of a full bar
    groups = []
    for stage in dict.fromkeys(cost.stage for cost in costs):
        members = [cost for cost in costs if cost.stage == stage]
        parts = [_cost(cost.what, [cost], 100 * cost.seconds / longest) for cost in members]
        groups.append([_cost(stage, members), *parts])
    from_store = [cost for cost in costs if cost.found]
    stages = count([len(costs)], "stage")
    saved = duration(seconds_of(from_store))
    note = f"Found in the store, with a pale bar: {len(from_store)} of {stages}, {saved}."
    return Costs(groups, _cost("total", costs), note)


def _cost(name: str, costs: Sequence[StageCost], percent: float | None = None) -> CostLine:
    # Stages run one after the other: their memory does not add up.
    memory = max(cost.peak_memory_mb for cost in costs)
    size = f"{memory:.0f} MiB" if memory < 1024 else f"{memory / 1024:.1f} GiB"
    sums = f"{sum(cost.steps for cost in costs):,}", f"{sum(cost.images for cost in costs):,}"
    # A sum is never marked, as some of its parts may have been computed.
    is_found = percent is not None and costs[0].found
    return CostLine(name, is_found, percent, duration(seconds_of(costs)), (size, *sums))


def merged_costs(costs: Sequence[StageCost]) -> list[StageCost]:
    """Return each stage once; it counts as found only if every run found it.

    Runs of a sweep share stages: one computes them, the others find them and record the same cost.
    """
    merged: dict[str, StageCost] = {}
    for cost in costs:
        # As text, in which a NaN is equal to itself.
        key = json.dumps({**vars(cost), "found": None})
        first = merged.setdefault(key, cost)
        merged[key] = replace(first, found=first.found and cost.found)
    return list(merged.values())


def seconds_of(costs: Sequence[StageCost]) -> float:
    """Return the time of all these stages together."""
    return sum(cost.seconds for cost in costs)


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(9.96), duration(59.6), duration(3700)
    ('10.0 s', '1 min 00 s', '1 h 01 min')
    """
    if seconds < 59.5:  # which rounds to a minute
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
