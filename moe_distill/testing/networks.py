"""What every network promises."""

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch

from moe_distill.errors import InputError
from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.seeding import stream

CLASSES = 7


class NetworkConformance:
    """What every network promises: features of its width, a linear classifier on them, gradients, seeded
    weights.

    Attributes:
        network: Makes the network: its class, or a ``functools.partial`` of it with its settings.
        sizes: Pixels a side of the images that it is tried on.
        channels: Their numbers of channels.
    """

    network: ClassVar[NetworkFactory]
    sizes: ClassVar[Sequence[int]] = (8, 28, 32)
    channels: ClassVar[Sequence[int]] = (1, 3)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test of images of any size on each shape."""
        if "shape" in metafunc.fixturenames:
            shapes = [(channels, size) for size in self.sizes for channels in self.channels]
            metafunc.parametrize("shape", shapes, ids=[f"{channels}x{size}" for channels, size in shapes])

    @pytest.fixture
    def factory(self) -> NetworkFactory:
        """What makes the network; override it to try several with one class."""
        return type(self).network

    def test_features_and_logits_have_their_shapes_and_gradients_reach_every_weight(
        self, factory: NetworkFactory, shape: tuple[int, int]
    ) -> None:
        """In train and in eval mode; unlike images have unlike features."""
        channels, size = shape
        network = build(factory, channels=channels, classes=CLASSES, size=size, rng=stream(0, "weights"))
        assert isinstance(network, Network)
        x_NCHW = torch.randn(
            2, channels, size, size, generator=stream(0, "images", channels, size)
        ).requires_grad_()
        f_ND = network.train().embed(x_NCHW)
        assert (f_ND[0] - f_ND[1]).abs().max() > 0
        logits = network.classifier(f_ND)
        assert logits.shape == (2, CLASSES) and logits.isfinite().all()
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, CLASSES - 1])).backward()
        gradients = [x_NCHW.grad, *(p.grad for p in network.parameters())]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        of_classifier = network.classifier.weight.grad
        assert of_classifier is not None and of_classifier.abs().max() > 0

        network.eval()
        with torch.no_grad():
            f_ND = network.embed(x_NCHW)
            assert (
                f_ND.shape == (2, network.feature_dim)
                and network.classifier.in_features == network.feature_dim
            )
            torch.testing.assert_close(network.classifier(f_ND), network(x_NCHW))

    def test_weights_come_from_the_generator_alone(self, factory: NetworkFactory) -> None:
        """Equal generators give equal weights, and the global generator is as it was."""
        shape = {"channels": self.channels[0], "classes": 3, "size": self.sizes[0]}
        state = torch.get_rng_state()
        first, again, other = (build(factory, **shape, rng=stream(0, name)) for name in ("a", "a", "b"))
        assert torch.equal(torch.get_rng_state(), state)
        same = [
            torch.equal(a, b)
            for a, b in zip(*(net.state_dict().values() for net in (first, again)), strict=True)
        ]
        assert all(same)
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))

    @pytest.mark.parametrize("size", [0, 7, 225])
    def test_size_outside_the_range_is_named(self, factory: NetworkFactory, size: int) -> None:
        """Below 8 and above 224 pixels nothing can be built (``models.base.check_size``)."""
        with pytest.raises(InputError, match=f"data.size={size}: 8 to 224 pixels"):
            factory(channels=3, classes=10, size=size)
