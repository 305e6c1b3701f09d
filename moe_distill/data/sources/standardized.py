"""A data set normalised by the channel statistics of another one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moe_distill.data.normalization import check_statistics
from moe_distill.data.real_set import DataSource, RealSet


@dataclass(frozen=True)
class Standardised:
    """Another source's data, normalised by channel statistics other than the source's.

    Args:
        source: Loads the images.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, in [0, 1].
    """

    source: DataSource
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def name(self) -> str:
        """The data set's name in records."""
        return self.source.name

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set.

        Args:
            cache: The folder for decoded images.

        Raises:
            InputError: If the source raises it, or the statistics do not fit the images.
        """
        train, test = self.source.load(cache)
        mean, std = tuple(self.mean), tuple(self.std)
        check_statistics(mean, std, train.channels, "normalisation.data")
        return replace(train, mean=mean, std=std), replace(test, mean=mean, std=std)
