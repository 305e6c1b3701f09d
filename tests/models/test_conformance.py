"""Every file of conf/model keeps what networks promise, whichever network it names."""

from pathlib import Path

import hydra.utils
import pytest
import yaml

from moe_distill.testing import NetworkConformance

FILES = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
LIBRARY = [path for path in FILES if "LibraryNetwork" in path.read_text()]


def over(paths):
    return pytest.fixture(params=paths, ids=lambda path: path.stem)


def made_by(path, width=0.25):
    text = path.read_text().replace("${width}", str(width)).replace("${least_map}", "4")
    return hydra.utils.instantiate(yaml.safe_load(text))


class TestNetworks(NetworkConformance):
    @over([path for path in FILES if path not in LIBRARY])
    def factory(self, request):
        return made_by(request.param)


class TestNetworksOnLargerImages(TestNetworks):
    """Above 32 pixels, where an average takes a map to the size that the classifier expects."""

    sizes, channels = (64,), (3,)


class TestNetworksOnTheLargestImages(NetworkConformance):
    sizes, channels = (224,), (3,)

    @over([path for path in FILES if path.stem in ("convnet3", "resnet18")])
    def factory(self, request):
        return made_by(request.param, width=0.05)


class TestNetworksOfALibrary(NetworkConformance):
    sizes, channels = (32,), (3,)

    @over(LIBRARY)
    def factory(self, request):
        return made_by(request.param)


def test_both_kinds_of_networks_are_here():
    assert len(LIBRARY) > 4 and len(FILES) > len(LIBRARY) + 4
