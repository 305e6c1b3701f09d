"""Numbers of results in words."""

import statistics
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal


def count(numbers: Sequence[int], thing: str) -> str:
    """Return ``1 thing``, ``3 things`` or ``1 to 3 things``, of sorted numbers."""
    text = " to ".join(f"{n:,}" for n in dict.fromkeys((numbers[0], numbers[-1])))
    return f"{text} {thing}{'' if text == '1' else 's'}"


def in_percent(values: Sequence[float]) -> str:
    """Return ``mean ± standard deviation`` (of the sample) in percent; the bare value where there is one."""
    if len(values) < 2:
        return "".join(map(percent, values))
    return f"{percent(statistics.mean(values))} ± {percent(statistics.stdev(values))}"


def percent(fraction: float) -> str:
    """Return a fraction in percent to one decimal; of a half, as paper's 44.65 is, away from zero.

    Such a number has few decimals and is rounded by these: no binary fraction is exactly 44.65.
    """
    return str(Decimal(f"{100 * fraction:.9f}").quantize(Decimal("0.1"), ROUND_HALF_UP))
