"""Rounded products against float64 arithmetic that rounds where they round."""

from functools import partial

import pytest
import torch
from conftest_networks import NAMES, loaded
from torch import nn
from torch.nn.functional import cross_entropy

from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.models.numerics import dtype_of, rounding
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.training.cohort import InTurn, Stacked
from moe_distill.training.recipe import Recipe

CPU = torch.device("cpu")
EPS = 2.0**-8  # half the distance of two neighbouring bfloat16 numbers, relative


def rounded(x):
    """Return float64 numbers rounded to bfloat16."""
    return x.bfloat16().double()


def images(n=4, size=32):
    return torch.randn(n, 3, size, size, generator=stream(0, "images"))


def built(numerics, width=0.25, **settings):
    factory = partial(ConvNet, width=width, numerics=numerics, **settings)
    return build(factory, channels=3, classes=10, size=32, rng=stream(0, "weights"))


def naive_features(network, x_NCHW):
    """Return features in float64: convolutions read rounded numbers, and each layer's are rounded."""
    h = x_NCHW.double()
    for layer in network.body:
        if isinstance(layer, nn.Conv2d):
            weight, bias = (rounded(p.detach()) for p in (layer.weight, layer.bias))
            h = nn.functional.conv2d(rounded(h), weight, bias, padding=layer.padding)
        elif isinstance(layer, nn.GroupNorm):
            weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
            h = nn.functional.group_norm(h, layer.num_groups, weight, bias, layer.eps)
        else:
            h = layer(h)
        h = rounded(h)
    return h


def test_features_are_those_of_float64_arithmetic_rounded_after_each_layer():
    network, x_NCHW = built("bf16"), images()
    with torch.no_grad():
        f_ND, naive_ND = network.embed(x_NCHW), naive_features(network, x_NCHW)
        exact_ND = built("exact").embed(x_NCHW).double()
    assert f_ND.dtype == torch.float32 and torch.equal(f_ND, f_ND.bfloat16().float())
    error = (f_ND.double() - naive_ND).norm() / naive_ND.norm()
    rounding_error = (naive_ND - exact_ND).norm() / exact_ND.norm()
    # A last digit here and there falls the other way; far from the distance to the exact features.
    assert error < 0.3 * rounding_error < 0.3 * 4 * EPS


def test_the_classifier_is_exact():
    network, x_NCHW = built("bf16"), images()
    with torch.no_grad():
        f_ND, logits = network.embed(x_NCHW), network(x_NCHW)
        weight, bias = network.classifier.weight.double(), network.classifier.bias.double()
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), f_ND.double() @ weight.T + bias, rtol=1e-5, atol=1e-6)


def test_products_and_statistics_are_added_in_float32():
    ones = nn.Conv2d(4096, 1, 1, bias=False).requires_grad_(False)
    ones.weight.fill_(1.0)
    norm_input = 256 + 2 * torch.arange(64).view(1, 1, 8, 8).float()  # all of them bfloat16 numbers
    with rounding("bf16", CPU):
        total = ones(torch.ones(1, 4096, 1, 1))
        normalised = nn.GroupNorm(1, 1)(norm_input.bfloat16())
    # Added in bfloat16, ones do not grow beyond 256.
    assert float(total) == 4096
    mean, variance = norm_input.double().mean(), norm_input.double().var(unbiased=False)
    oracle = (norm_input.double() - mean) / (variance + 1e-5).sqrt()
    assert (normalised.double() - oracle).abs().max() < 2 * EPS * oracle.abs().max()


def test_weights_gradients_and_momentum_are_float32():
    network = built("bf16")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    x_NCHW = images().requires_grad_()
    cross_entropy(network(x_NCHW), torch.arange(4)).backward()
    optimizer.step()
    of_weights = [p.grad for p in network.parameters()]
    momenta = [state["momentum_buffer"] for state in optimizer.state.values()]
    tensors = [x_NCHW.grad, *network.parameters(), *of_weights, *momenta]
    assert {t.dtype for t in tensors} == {torch.float32}


def test_the_second_pass_sees_weights_that_changed_in_place():
    network, x_NCHW = built("bf16"), images()
    with torch.no_grad():
        before = network(x_NCHW)
        for p in network.parameters():
            p.mul_(1.5)
        assert not torch.allclose(network(x_NCHW), before)


def test_a_gradient_of_gradients_points_where_the_exact_one_does():
    x_NCHW, labels_N = images(), torch.arange(4)

    def slope(numerics):
        network, x = built(numerics), x_NCHW.clone().requires_grad_()
        weights = [*network.parameters()]
        matched = torch.autograd.grad(cross_entropy(network(x), labels_N), weights, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in matched), x)[0].flatten()

    exact, bf16 = slope("exact"), slope("bf16")
    assert torch.cosine_similarity(exact, bf16, dim=0) > 0.98
    assert not torch.equal(exact, bf16)


def test_stacked_students_are_those_trained_in_turn():
    recipe = Recipe(name="test", epochs=1, lr=0.01, batch_size=4)
    batch = images(), nn.functional.one_hot(torch.arange(4), 10).float()

    def logits(cohort):
        networks = [built("bf16", width=0.1).requires_grad_() for _ in range(2)]
        students = cohort(networks, recipe)
        for step in range(3):
            students.step([batch] * 2, [stream(s, "student", step) for s in range(2)])
        return students.logits(images())

    in_turn, stacked = logits(InTurn), logits(Stacked)
    assert stacked.dtype == torch.float32
    torch.testing.assert_close(in_turn, stacked, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_computes_near_its_exact_features(name):
    networks = [
        build(loaded(name, numerics=n), channels=3, classes=10, size=32, rng=stream(0, "w")).eval()
        for n in ("exact", "bf16")
    ]
    with torch.no_grad():
        exact, bf16 = (network.embed(images()) for network in networks)
    assert bf16.dtype == torch.float32 and not torch.equal(exact, bf16)
    assert (exact - bf16).norm() < 0.1 * exact.norm()


def test_keys_and_rows_tell_the_arithmetic_and_exact_keys_are_as_before():
    plain, exact, bf16 = (
        partial(ConvNet, width=0.5, **n) for n in ({}, {"numerics": "exact"}, {"numerics": "bf16"})
    )
    assert key(plain) == key(exact) != key(bf16)
    assert [dtype_of(factory) for factory in (plain, exact, bf16)] == ["float32", "float32", "bfloat16"]
