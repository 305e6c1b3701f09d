"""Numbers of results in words."""

import statistics
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal


def count(numbers: Sequence[int], thing: str) -> str:
    """Return how many things there are, of sorted numbers the range.

    >>> count([1], "seed"), count([3], "seed"), count([1, 2, 3], "seed")
    ('1 seed', '3 seeds', '1 to 3 seeds')
    """
    # Once if both ends are equal.
    text = " to ".join(f"{n:,}" for n in dict.fromkeys((numbers[0], numbers[-1])))
    return f"{text} {thing}{'' if text == '1' else 's'}"


def in_percent(values: Sequence[float]) -> str:
    """Return mean ± standard deviation (of the sample) in percent; a single value as it is.

    >>> in_percent([0.5, 0.52]), in_percent([0.5]), in_percent([])
    ('51.0 ± 1.4', '50.0', '')
    """
    if len(values) < 2:  # one value has no deviation, none gives an empty text
        return "".join(map(percent, values))
    return f"{percent(statistics.mean(values))} ± {percent(statistics.stdev(values))}"


def percent(fraction: float) -> str:
    """Return a fraction in percent to one decimal, a half rounded away from zero as papers do.

    >>> percent(0.4465)
    '44.7'
    """
    # Nine decimals first: 44.65 has no exact binary fraction, and would be rounded by its error.
    return str(Decimal(f"{100 * fraction:.9f}").quantize(Decimal("0.1"), ROUND_HALF_UP))
