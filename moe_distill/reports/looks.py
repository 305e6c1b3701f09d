"""The look of each variant, the same wherever a page shows it: a colour and a way to fill it."""

from collections.abc import Sequence
from dataclasses import dataclass

from moe_distill.results.rows import RANDOM

# The style sheet has the colours --c0 to --c6 and, for random images, the grey --c7.
_HUES, _GREY, _FILLS = 7, 7, 3
_DASHES: tuple[object, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)))


@dataclass(frozen=True)
class Look:
    """A colour of the page's style sheet and a way to fill it.

    Attributes:
        hue: The number n of the colour ``var(--c<n>)``.
        fill: 0 is solid, 1 hollow and 2 striped; lines are solid, dashed and dotted.
    """

    hue: int
    fill: int = 0

    @property
    def mark(self) -> str:
        """The colour that stands for it in matplotlib (see :mod:`moe_distill.reports.svg`)."""
        return f"#0a0b{self.hue:02x}"

    @property
    def dash(self) -> object:
        """The line style of matplotlib."""
        return _DASHES[self.fill]


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name, in order: greys for random images, the colours in turn for all others.

    Twenty-one names that are not of random images look different; after that, looks repeat.

    >>> looks_of(["dm", "random", "idm"])
    {'dm': Look(hue=0, fill=0), 'random': Look(hue=7, fill=0), 'idm': Look(hue=1, fill=0)}
    """
    looks: dict[str, Look] = {}
    random = other = 0
    for name in dict.fromkeys(names):  # in order, so that a look stays when names are added at the end
        if name.startswith(RANDOM):  # also random_tiled, and names with more words
            looks[name] = Look(_GREY, random % _FILLS)
            random += 1
        else:
            looks[name] = Look(other % _HUES, other // _HUES % _FILLS)
            other += 1
    return looks
