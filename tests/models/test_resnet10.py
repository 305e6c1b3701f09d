"""ResNet10: the same stem and stages, half of the blocks."""

import torch

from moe_distill.models.resnet import ResNet10, ResNet18


def block(channels, width):
    """Parameters of a residual block: two 3 × 3 convolutions, two norms, and a shortcut where the shape changes."""
    shortcut = channels * width + 2 * width if channels != width else 0
    return 9 * channels * width + 9 * width * width + 4 * width + shortcut


def test_it_has_the_parameters_that_were_counted_by_hand():
    stages = block(64, 64) + block(64, 128) + block(128, 256) + block(256, 512)
    wanted = 3 * 9 * 64 + 2 * 64 + stages + 512 * 10 + 10
    assert sum(p.numel() for p in ResNet10(3, 10, 32).parameters()) == wanted
    second = block(64, 64) + block(128, 128) + block(256, 256) + block(512, 512)
    assert sum(p.numel() for p in ResNet18(3, 10, 32).parameters()) == wanted + second


def test_it_sees_images_down_to_eight_pixels():
    for size in (8, 32):
        network = ResNet10(1, 4, size, width=0.25)
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 4)
        assert network.embed(torch.zeros(2, 1, size, size)).shape == (2, 128)
