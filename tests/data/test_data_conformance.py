"""Sources that need no download keep what sources promise."""

import pytest
from conftest_folders import plant

from moe_distill.data.sources.folder import Folder
from moe_distill.data.sources.public_sets import Digits
from moe_distill.testing import DataConformance


class TestDigits(DataConformance):
    source = Digits()


class TestFolders(DataConformance):
    @pytest.fixture(
        params=[{}, {"size": 8}, {"channels": 1}, {"mean": (0.5,) * 3, "std": (0.2,) * 3}], ids=str
    )
    def origin(self, request, tmp_path):
        return Folder(str(plant(tmp_path / "pictures", per_class=5)), **request.param)


class TestFoldersThatAreSplit(DataConformance):
    @pytest.fixture
    def origin(self, tmp_path):
        return Folder(str(plant(tmp_path / "pictures", per_class=9, parts=("train",))), test_share=0.3)
