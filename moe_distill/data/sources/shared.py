"""Real data that several plans of a sweep use, loaded once for all of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moe_distill.data.real_set import DataSource, RealSet, check_labels
from moe_distill.store.identity import describe, key


@dataclass(eq=False)
class DataCache:
    """An in-memory cache for one data set: the one that was loaded last."""

    _loaded: dict[str, tuple[RealSet, RealSet]] = field(default_factory=dict)

    def load(self, source: DataSource, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the source's training and test set; the ones loaded last are not loaded again.

        Raises:
            InputError: Labels are no numbers of classes.
        """
        address = key([source, str(cache)])
        if address not in self._loaded:
            self._loaded.clear()  # before the next is loaded: two data sets may not fit into memory
            self._loaded[address] = source.load(cache)
            for part in self._loaded[address]:
                check_labels(part)
        return self._loaded[address]


@dataclass(frozen=True, eq=False)
class Shared:
    """Another source, read through a cache that other plans share.

    Args:
        source: Loads the data.
        data_cache: Keeps them until other data are loaded.
    """

    source: DataSource
    data_cache: DataCache

    @property
    def name(self) -> str:
        """The data set's name in records."""
        return self.source.name

    def describe(self) -> Any:
        """Return the source's description, as sharing does not affect results."""
        return describe(self.source)

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set; raises what the source raises."""
        return self.data_cache.load(self.source, cache)
