"""Conformance tests for sources of real data."""

import json
import pickle
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.models.base import check_size
from moe_distill.seeding import stream
from moe_distill.store.identity import describe


class DataConformance:
    """What every data source must satisfy: two parts that fit each other, and are the same at every load.

    Attributes:
        source: The source under test.
    """

    source: ClassVar[DataSource]

    @pytest.fixture
    def origin(self) -> DataSource:
        """The source; override it to test several sources with one class."""
        return type(self).source

    @pytest.fixture
    def parts(self, origin: DataSource, tmp_path: Path) -> tuple[RealSet, RealSet]:
        """The training and the test set."""
        return origin.load(tmp_path / "cache")

    def test_images_are_square_bytes_and_labels_are_classes(self, parts: tuple[RealSet, RealSet]) -> None:
        """The size is one that networks accept, and every class occurs in both parts."""
        for part in parts:
            n, channels, height, width = part.images_NCHW.shape
            assert part.images_NCHW.dtype == torch.uint8 and part.labels_N.dtype == torch.int64
            assert part.labels_N.shape == (n,) and height == width and channels in (1, 3)
            check_size(part.size)
            assert part.labels_N.min() >= 0 and part.labels_N.max() < len(part.classes)
            assert part.counts().min() > 0

    def test_both_parts_are_read_alike(self, parts: tuple[RealSet, RealSet], origin: DataSource) -> None:
        """They differ only in images and labels; class names are unique."""
        train, test = parts
        for name in ("classes", "mean", "std", "name", "variant", "channels", "size", "device"):
            assert getattr(train, name) == getattr(test, name), name
        assert train.name == origin.name and len(set(train.classes)) == len(train.classes)

    def test_training_and_test_images_differ(self, parts: tuple[RealSet, RealSet]) -> None:
        """A test set that is part of the training set would not measure generalisation."""
        # Real data sets contain some duplicates across their parts, so not all images need to differ.
        train, test = ({image.numpy().tobytes() for image in part.images_NCHW} for part in parts)
        assert len(test - train) > 0.5 * len(test)

    def test_images_are_standardised_by_the_statistics_of_the_training_part(
        self, parts: tuple[RealSet, RealSet]
    ) -> None:
        """Roughly: the statistics may be published ones, computed in another way."""
        train, _ = parts
        x_NCHW = train.batch(1000, stream(0, "conformance"))[0]
        assert x_NCHW.isfinite().all()
        assert x_NCHW.mean().abs() < 1.5 and 0.2 < x_NCHW.std() < 5

    def test_loading_it_again_gives_the_same(
        self, parts: tuple[RealSet, RealSet], origin: DataSource, tmp_path: Path
    ) -> None:
        """With its cache, and without."""
        fingerprints = [part.fingerprint for part in parts]
        for cache in (tmp_path / "cache", tmp_path / "empty"):
            assert [part.fingerprint for part in origin.load(cache)] == fingerprints

    def test_it_has_a_key_and_reaches_other_processes(self, origin: DataSource) -> None:
        """Its description is JSON, and a pickled copy has the same one."""
        described = describe(origin)
        assert json.loads(json.dumps(described)) == described
        # Spawned processes get their data source by pickle.
        assert describe(pickle.loads(pickle.dumps(origin))) == described
