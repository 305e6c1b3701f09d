from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from moe_distill.errors import InputError
from moe_distill.models.alexnet import AlexNet
from moe_distill.models.base import build, kept_poolings, norm_layer, scaled, stem_side
from moe_distill.models.convnet import ConvNet
from moe_distill.models.resnet import ResNet10, ResNet18
from moe_distill.models.vgg import VGG11
from moe_distill.seeding import stream

NETWORKS = [ConvNet, VGG11, ResNet10, ResNet18, AlexNet]


def randn(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=stream(0, "test"), dtype=dtype)


def small(network, index):
    factory = partial(network, width=0.05)
    return build(factory, channels=1, classes=3, size=8, rng=stream(0, "net", index)).double()


def test_instance_norm_is_per_image_and_channel():
    x_NCHW, norm = randn(3, 5, 4, 4) * 3 + 1, norm_layer("instance", 5).double()
    with torch.no_grad():
        norm.weight.copy_(randn(5))
        norm.bias.copy_(randn(7)[2:])
    for image in range(3):
        for channel in range(5):
            x = x_NCHW[image, channel]
            standardised = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
            expected = standardised * norm.weight[channel] + norm.bias[channel]
            torch.testing.assert_close(norm(x_NCHW)[image, channel], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "channels", "dims", "groups"),
    [("group", 8, (2, 3, 4), 4), ("group", 6, (2, 3, 4), 2), ("layer", 8, (1, 2, 3), 1)],
)
def test_grouped_norms_against_plain_statistics(name, channels, dims, groups):
    x_NCHW = randn(2, channels, 3, 3)
    view = x_NCHW.reshape(2, groups, -1, 3, 3) if groups > 1 else x_NCHW
    centred = view - view.mean(dims, keepdim=True)
    expected = (centred / (view.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()).reshape(x_NCHW.shape)
    torch.testing.assert_close(norm_layer(name, channels).double()(x_NCHW), expected, rtol=0, atol=1e-9)


def test_norm_choices():
    assert isinstance(norm_layer("batch", 3), nn.BatchNorm2d)
    assert torch.equal(norm_layer("none", 3)(randn(1, 3, 2, 2)), randn(1, 3, 2, 2))
    with pytest.raises(InputError, match=r"norm=batsch: instance or batch or group or layer or none"):
        norm_layer("batsch", 3)


def test_depth_and_width():
    assert [scaled(128, 0.25), scaled(128, 1), scaled(64, 1.5), scaled(64, 0.001)] == [32, 128, 96, 1]
    with pytest.raises(InputError, match=r"depth=0"):
        ConvNet(3, 10, 32, depth=0)
    assert ConvNet(3, 10, 64, width=0.25, depth=4).feature_dim == 32 * 4 * 4


@pytest.mark.parametrize("poolings", range(1, 7))
def test_kept_poolings_against_halving_by_hand(poolings):
    for side in range(8, 225):
        maps = [side]
        while len(maps) <= poolings:
            maps.append(maps[-1] // 2)
        # maps[1:-1] feed a convolution; the last one does so only when poolings are left out.
        allowed = [k for k in range(poolings) if maps[k] >= 2]
        expected = poolings if len(allowed) == poolings else max(allowed)
        assert kept_poolings(side, poolings) == expected


def test_only_28_pixel_gray_images_are_enlarged():
    assert (stem_side(1, 28), stem_side(3, 28), stem_side(1, 27), stem_side(1, 32)) == (32, 28, 27, 32)
    for network in NETWORKS:
        assert network(1, 10, 28, width=0.1).feature_dim == network(1, 10, 32, width=0.1).feature_dim


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [8, 9, 11, 12, 13, 15, 16, 17, 23, 28, 31, 32])
def test_every_normalised_map_has_four_pixels(network, size):
    seen = []

    def look(module, inputs, output):
        seen.extend([inputs[0].shape[-1], output.shape[-1]])

    built = network(channels=3, classes=2, size=size, width=0.02)
    for module in built.modules():
        if isinstance(module, nn.GroupNorm | nn.Conv2d):
            module.register_forward_hook(look)
    built(torch.randn(1, 3, size, size, generator=stream(0, "x")))
    assert len(seen) >= 10 and min(seen) >= 2


def test_deep_convnet_leaves_out_its_last_poolings():
    assert ConvNet(3, 10, 8, depth=3).feature_dim == 128 * 1
    assert ConvNet(3, 10, 8, depth=4).feature_dim == 128 * 4
    assert ConvNet(3, 10, 224, depth=6).feature_dim == 128 * 9


@pytest.mark.parametrize(
    ("network", "features"), [(VGG11, 512), (ResNet10, 512), (ResNet18, 512), (AlexNet, 192 * 16)]
)
@pytest.mark.parametrize("size", [32, 48, 64, 224])
def test_head_sees_what_it_sees_at_32(network, features, size):
    with torch.device("meta"):
        built = network(channels=3, classes=10, size=size)
        f_ND = built.embed(torch.empty(1, 3, size, size))
    assert f_ND.shape == (1, features)


@pytest.mark.parametrize("network", NETWORKS)
def test_stacked_networks_give_the_gradients_of_each(network):
    nets = [small(network, index) for index in range(2)]
    x_SNCHW = randn(2, 4, 1, 8, 8)

    def loss(parameters, x_NCHW):
        return functional_call(nets[0], parameters, (x_NCHW,)).square().mean()

    parameters, _ = stack_module_state(nets)
    stacked = vmap(grad(loss))(parameters, x_SNCHW)
    for index, net in enumerate(nets):
        alone = torch.autograd.grad(net(x_SNCHW[index]).square().mean(), list(net.parameters()))
        for name, expected in zip(dict(net.named_parameters()), alone, strict=True):
            torch.testing.assert_close(stacked[name][index], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("network", NETWORKS)
def test_gradient_of_a_gradient_against_finite_differences(network):
    net = small(network, 0)
    x_NCHW, direction_NCHW = randn(2, 1, 8, 8), randn(3, 2, 1, 8, 8)[2]

    def gradient_norm(x_NCHW, **options):
        loss = net(x_NCHW).square().sum()
        return sum(g.square().sum() for g in torch.autograd.grad(loss, list(net.parameters()), **options))

    leaf = x_NCHW.clone().requires_grad_()
    (grad_NCHW,) = torch.autograd.grad(gradient_norm(leaf, create_graph=True), leaf)
    step = 1e-6 * direction_NCHW
    expected = (gradient_norm(x_NCHW + step) - gradient_norm(x_NCHW - step)) / 2e-6
    torch.testing.assert_close((grad_NCHW * direction_NCHW).sum(), expected, rtol=1e-4, atol=0)
