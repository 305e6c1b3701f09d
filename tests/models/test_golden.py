"""The four networks against published outputs: definition order, counts, logits."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_distill.models.alexnet import AlexNet
from moe_distill.models.convnet import ConvNet
from moe_distill.models.resnet import ResNet10, ResNet18
from moe_distill.models.vgg import VGG11

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "idm_dm.npz")
NETWORKS = {"ConvNet": ConvNet, "VGG11": VGG11, "ResNet18": ResNet18, "AlexNet": AlexNet}


def recipe(shape, index, is_bias):
    """The deterministic weights that the golden outputs were made with."""
    k = np.arange(math.prod(shape), dtype=np.int64)
    r = (69069 * k**2 + 1234567 * k + 7919 * index) % 1000003
    w = math.sqrt(3) * (2 * r / 1000003 - 1)
    if len(shape) > 1:
        return torch.from_numpy((w * math.sqrt(2 / math.prod(shape[1:]))).reshape(shape))
    return torch.from_numpy(0.1 * w if is_bias else 1 + 0.1 * w)


def filled(name, dtype):
    network = NETWORKS[name](channels=3, classes=10, size=32).to(dtype)
    with torch.no_grad():
        for index, (key, parameter) in enumerate(network.named_parameters()):
            parameter.copy_(recipe(tuple(parameter.shape), index, key.endswith("bias")))
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_fill_has_the_golden_order_and_sums(name):
    parameters = [p.detach() for p in filled(name, torch.float64).parameters()]
    sums = torch.stack([torch.stack([p.sum(), p.square().sum()]) for p in parameters])
    np.testing.assert_allclose(sums, GOLDEN[f"{name}_param_sum_sumsq"], rtol=1e-9, atol=1e-9)
    assert sum(p.numel() for p in parameters) == GOLDEN[f"{name}_num_params"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("dtype", "key", "tolerance"), [(torch.float64, "f64", 1e-9), (torch.float32, "f32", 3e-5)]
)
@pytest.mark.parametrize("training", [True, False])
def test_logits(name, dtype, key, tolerance, training):
    network = filled(name, dtype).train(training)
    with torch.no_grad():
        logits = network(torch.from_numpy(GOLDEN["net_input"]).to(dtype))
    expected = GOLDEN[f"{name}_logits_{key}"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize(
    ("network", "classes", "count"),
    [
        (ConvNet, 10, 320010),
        (ConvNet, 100, 504420),
        (VGG11, 10, 9231114),
        (ResNet18, 10, 11173962),
        (AlexNet, 10, 1872202),
    ],
)
def test_parameter_counts(network, classes, count):
    with torch.device("meta"):
        built = network(channels=3, classes=classes, size=32)
    assert sum(p.numel() for p in built.parameters()) == count


@pytest.mark.parametrize(("width", "norm"), [(1.0, "instance"), (0.5, "batch")])
def test_the_parameters_of_resnet10_counted_by_hand(width, norm):
    first, second, third, fourth = (int(width * planes) for planes in (64, 128, 256, 512))
    count = 27 * first + 2 * first  # the first convolution and its norm
    count += 2 * (
        9 * first * first + 2 * first
    )  # a block that keeps the shape: no convolution in its shortcut
    for planes, wider in ((first, second), (second, third), (third, fourth)):
        count += 9 * planes * wider + 9 * wider * wider + planes * wider + 3 * 2 * wider
    count += 10 * fourth + 10
    assert count == {1.0: 4903242, 0.5: 1228970}[width]  # the second is IDC's published ResNet-10
    with torch.device("meta"):
        built = ResNet10(channels=3, classes=10, size=32, width=width, norm=norm)
        seen = built.body[:-2](torch.empty(1, 3, 32, 32))
    assert sum(p.numel() for p in built.parameters()) == count
    assert seen.shape == (1, fourth, 4, 4)
