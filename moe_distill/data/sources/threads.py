"""A map over many small items with as many threads as there are cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

from moe_distill.progress import with_progress

BAR_FROM = 1000  # items; fewer show no progress bar
AHEAD = 256  # items that are submitted at once
# Handing an item to a thread takes longer than hashing a small file, so threads get several at a time.
_TOGETHER = 4


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], title: str) -> Iterator[Any]:
    """Yield ``function(item)`` in order, computed by as many threads as there are cores.

    Args:
        function: Releases the GIL for most of its time, as decoding and hashing do.
        items: Its arguments.
        title: Label of the progress bar that long work shows.

    Example:
        >>> list(in_threads(len, ["a", "bcd"], "measuring"))
        [1, 3]
    """
    groups = [items[first : first + _TOGETHER] for first in range(0, len(items), _TOGETHER)]
    # Submitted in parts: finished results that nobody has read yet would otherwise fill the memory.
    ahead = AHEAD // _TOGETHER
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = (
            pool.map(partial(_each, function), groups[first : first + ahead])
            for first in range(0, len(groups), ahead)
        )
        results = chain.from_iterable(chain.from_iterable(parts))
        yield from with_progress(results, title, len(items), hidden=len(items) <= BAR_FROM, delay=2.0)


def _each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [function(item) for item in items]
