"""Real data that many plans name, loaded for all of them once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.store.identity import describe, key


@dataclass(eq=False)
class Shelf:
    """Where plans of equal data find it loaded; it holds one data set, as several may not fit into memory."""

    _held: dict[str, tuple[RealSet, RealSet]] = field(default_factory=dict)

    def load(self, source: DataSource, cache: Path) -> tuple[RealSet, RealSet]:
        """Return what the source loads: what is held already where it was asked for last, else loaded now."""
        address = key([source, str(cache)])
        if address not in self._held:
            self._held.clear()  # before the next is loaded
            self._held[address] = source.load(cache)
        return self._held[address]


@dataclass(frozen=True, eq=False)
class Shared:
    """Another source, by way of a shelf that others take from too.

    Args:
        source: Loads the data.
        shelf: Where they are kept as long as nobody asks for others.
    """

    source: DataSource
    shelf: Shelf

    @property
    def name(self) -> str:
        """The data set's name in records."""
        return self.source.name

    def describe(self) -> Any:
        """Return the source's description: how it is shared decides nothing."""
        return describe(self.source)

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set; raises what the source does."""
        return self.shelf.load(self.source, cache)
