"""Each network learns real images of 8 × 8 pixels, where instance norms over single values would leave it at
chance."""

from functools import partial

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from moe_distill.models.alexnet import AlexNet
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.models.resnet import ResNet18
from moe_distill.models.vgg import VGG11
from moe_distill.seeding import stream


@pytest.mark.slow
@pytest.mark.parametrize(("network", "epochs"), [(ConvNet, 8), (VGG11, 4), (ResNet18, 1), (AlexNet, 20)])
def test_learns_digits(network, epochs):
    digits = load_digits()
    x_NCHW, y_N = (
        torch.from_numpy(digits.images).float().div(16).unsqueeze(1),
        torch.from_numpy(digits.target),
    )
    order = torch.randperm(len(y_N), generator=stream(0, "split"))
    train, test = order[:1400], order[1400:]
    x_NCHW = (x_NCHW - x_NCHW[train].mean()) / x_NCHW[train].std()
    net = build(partial(network, width=0.25), channels=1, classes=10, size=8, rng=stream(0, "weights"))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs):
        shuffled = train[torch.randperm(len(train), generator=stream(0, "shuffle", epoch))]
        for batch in shuffled.split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x_NCHW[batch]), y_N[batch]).backward()
            optimiser.step()
    with torch.no_grad():
        accuracy = (net(x_NCHW[test]).argmax(1) == y_N[test]).float().mean()
    assert accuracy > 0.5
