"""The user's own images, in class folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from moe_distill.data.normalization import check_statistics
from moe_distill.data.real_set import RealSet, pixel_statistics, train_and_test
from moe_distill.data.sources.decoding import decoded
from moe_distill.data.sources.tree import KEY, LAYOUT, read_tree
from moe_distill.errors import InputError
from moe_distill.store.disk import expanded
from moe_distill.validation.values import LocalFolder, Pixels, Positive, Share, Text, checked


@checked
@dataclass(frozen=True)
class Folder:
    """The user's own images, read as a viewer shows them: rotated as EXIF says, on a white background.

    Args:
        root: Holds ``train/<class>/*`` and ``test/<class>/*``.
        size: Pixels a side, 8..224; None takes the images as they are, all of one square size.
        channels: 1 or 3; None means 1 if every file is grayscale, else 3.
        mean: Mean of each channel, in [0, 1]; None computes it from the training images.
        std: Standard deviation of each channel; None computes it from the training images.
        name: The data set's name in records.
        test_share: Share of test images, between 0 and 1, for a root that holds ``<class>/*`` (or only
            ``train/<class>/*``); see :func:`moe_distill.data.sources.tree.held_out`. None requires both
            parts.
    """

    root: LocalFolder | None
    size: Pixels | None = None
    channels: Literal[1, 3] | None = None
    mean: Sequence[Share] | None = None
    std: Sequence[Positive] | None = None
    name: Text = "folder"
    test_share: Annotated[float, Gt(0), Lt(1)] | None = None

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set.

        Args:
            cache: The folder for decoded images.

        Raises:
            InputError: If anything is wrong with the tree, its files or the fields above.
        """
        if self.root is None:
            raise InputError(KEY, None, LAYOUT)
        check_statistics(self.mean, self.std, self.channels)
        tree = read_tree(expanded(self.root, KEY), test_share=self.test_share)
        # Statistics are checked again once the number of channels is known, before the slow decoding.
        accept = partial(check_statistics, self.mean, self.std)
        arrays = decoded(tree, self.size, self.channels, cache, accept)
        mean, std = pixel_statistics(arrays["train_images"])
        statistics = (
            mean if self.mean is None else tuple(self.mean),
            std if self.std is None else tuple(self.std),
        )
        return train_and_test(arrays, tree.classes, statistics, self.name, tree.variant)
