"""Many small pieces of work, done by as many threads as there are cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

from tqdm import tqdm

BAR_FROM = 1000
AHEAD = 256
# Handing a piece of work to a thread takes longer than hashing a small file.
_TOGETHER = 4


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], title: str) -> Iterator[Any]:
    """Yield ``function(item)`` in order, computed by as many threads as there are cores; long work shows a
    bar.
    """
    groups = [items[first : first + _TOGETHER] for first in range(0, len(items), _TOGETHER)]
    # In parts: results that wait to be taken would otherwise need as much memory as the whole.
    ahead = AHEAD // _TOGETHER
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = (
            pool.map(partial(_each, function), groups[first : first + ahead])
            for first in range(0, len(groups), ahead)
        )
        results = chain.from_iterable(chain.from_iterable(parts))
        yield from tqdm(results, title, total=len(items), disable=len(items) <= BAR_FROM, delay=2)


def _each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [function(item) for item in items]
