"""Conformance tests for networks."""

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch

from moe_distill.errors import InputError
from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.seeding import stream

CLASSES = 7


class NetworkConformance:
    """What every network must satisfy: features, a linear classifier on them, gradients, seeded weights.

    Attributes:
        network: Builds the network: its class, or a ``functools.partial`` of it with its settings.
        sizes: Side lengths, in pixels, of the images that it is tested on.
        channels: Numbers of channels of these images.
    """

    network: ClassVar[NetworkFactory]
    sizes: ClassVar[Sequence[int]] = (8, 28, 32)
    channels: ClassVar[Sequence[int]] = (1, 3)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run tests that take a ``shape`` on each combination of size and channels."""
        if "shape" in metafunc.fixturenames:
            shapes = [(channels, size) for size in self.sizes for channels in self.channels]
            metafunc.parametrize("shape", shapes, ids=[f"{channels}x{size}" for channels, size in shapes])

    @pytest.fixture
    def factory(self) -> NetworkFactory:
        """Builds the network; override it to test several networks with one class."""
        return type(self).network

    def test_features_and_logits_have_their_shapes_and_gradients_reach_every_weight(
        self, factory: NetworkFactory, shape: tuple[int, int]
    ) -> None:
        """This holds in training and evaluation mode; different images have different features."""
        channels, size = shape
        network = build(factory, channels=channels, classes=CLASSES, size=size, rng=stream(0, "weights"))
        assert isinstance(network, Network)
        # Two images, as batch normalisation cannot be trained on one.
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
        classifier_grad = network.classifier.weight.grad
        assert classifier_grad is not None and classifier_grad.abs().max() > 0

        # In evaluation nothing is random, so both ways to the logits must agree.
        network.eval()
        with torch.no_grad():
            f_ND = network.embed(x_NCHW)
            assert (
                f_ND.shape == (2, network.feature_dim)
                and network.classifier.in_features == network.feature_dim
            )
            torch.testing.assert_close(network.classifier(f_ND), network(x_NCHW))

    def test_weights_come_from_the_generator_alone(self, factory: NetworkFactory) -> None:
        """Equal generators give equal weights, and the global generator is not advanced."""
        shape = {"channels": self.channels[0], "classes": 3, "size": self.sizes[0]}
        state = torch.get_rng_state()
        first, again, other = (build(factory, **shape, rng=stream(0, name)) for name in ("a", "a", "b"))
        assert torch.equal(torch.get_rng_state(), state)
        # Buffers count too, such as running statistics that a forward pass while building would change.
        states = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in states)
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))

    @pytest.mark.parametrize("size", [0, 7, 225])
    def test_size_outside_the_range_is_named(self, factory: NetworkFactory, size: int) -> None:
        """Networks take images of 8 to 224 pixels and say so (``models.base.check_size``)."""
        with pytest.raises(InputError, match=f"data.size={size}: 8 to 224 pixels"):
            factory(channels=3, classes=10, size=size)
