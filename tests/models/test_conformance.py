"""Every file of conf/model keeps what networks promise, whichever network it names."""

import pytest
from conftest_networks import LIBRARY, NAMES, loaded

from moe_distill.testing import NetworkConformance


def over(names):
    return pytest.fixture(params=names)


class TestNetworks(NetworkConformance):
    @over([name for name in NAMES if name not in LIBRARY])
    def factory(self, request):
        return loaded(request.param)


class TestNetworksOnLargerImages(TestNetworks):
    """Above 32 pixels, where an average takes a map to the size that the classifier expects."""

    sizes, channels = (64,), (3,)


class TestNetworksOnTheLargestImages(NetworkConformance):
    sizes, channels = (224,), (3,)

    @over(["convnet3", "resnet18"])
    def factory(self, request):
        return loaded(request.param, width=0.05)


class TestNetworksOfALibrary(NetworkConformance):
    sizes, channels = (32,), (3,)

    @over(LIBRARY)
    def factory(self, request):
        return loaded(request.param)


def test_both_kinds_of_networks_are_here():
    assert len(LIBRARY) > 4 and len(NAMES) > len(LIBRARY) + 4
