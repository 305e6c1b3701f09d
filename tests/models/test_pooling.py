"""Average pooling as a product equals PyTorch's own pooling, bit for bit."""

import pytest
import torch
from torch import nn

from moe_distill.models.convnet import ConvNet
from moe_distill.models.pooling import AveragePool


def _value_and_gradients(pooling, x, weights, second):
    """Return the means, the gradient, and the gradient of a cubic function's gradient."""
    x = x.clone().requires_grad_()
    y = pooling(x)
    (first,) = torch.autograd.grad((y**3 * weights).sum(), x, create_graph=True)
    (twice,) = torch.autograd.grad((first * second).sum(), x)
    return y.detach(), first.detach(), twice


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5, 32, 32), (2, 7, 16, 16), (4, 3, 8, 8), (1, 2, 4, 64), (2, 3, 2, 2)])
def test_means_and_two_derivatives_equal_average_pooling(shape, dtype):
    rng = torch.Generator().manual_seed(0)
    x, second = (torch.randn(shape, generator=rng).to(dtype) for _ in range(2))
    weights = torch.randn(*shape[:2], shape[2] // 2, shape[3] // 2, generator=rng).to(dtype)
    ours, reference = (_value_and_gradients(p, x, weights, second) for p in (AveragePool(), nn.AvgPool2d(2)))
    for mine, theirs in zip(ours, reference, strict=True):
        assert mine.dtype == dtype and torch.equal(mine, theirs)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 6, 5), (2, 3, 128, 128)])
def test_odd_and_wide_maps_are_pooled_as_before(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(AveragePool()(x), nn.AvgPool2d(2)(x))


def test_stacked_networks_pool_as_single_ones():
    x = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    stacked = torch.vmap(AveragePool())(x)
    assert torch.equal(stacked, torch.stack([nn.AvgPool2d(2)(images) for images in x]))


def test_a_float32_map_is_not_rounded_under_automatic_casting():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(AveragePool()(x), nn.AvgPool2d(2)(x))


@pytest.mark.parametrize("numerics", ["exact", "bf16"])
def test_a_whole_network_is_unchanged(numerics):
    torch.manual_seed(0)
    network = ConvNet(3, 10, 32, width=0.25, numerics=numerics)
    reference = ConvNet(3, 10, 32, width=0.25, numerics=numerics)
    reference.load_state_dict(network.state_dict())
    for name, module in list(reference.body.named_children()):
        if isinstance(module, AveragePool):
            setattr(reference.body, name, nn.AvgPool2d(2))
    assert any(isinstance(m, nn.AvgPool2d) for m in reference.modules())
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    gradients = [torch.autograd.grad(n(x).square().sum(), [x, *n.parameters()]) for n in (network, reference)]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*gradients, strict=True))
