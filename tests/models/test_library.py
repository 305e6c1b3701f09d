from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from moe_distill.errors import InputError
from moe_distill.models.library import LibraryNetwork, patch_size, split_at_classifier
from moe_distill.seeding import stream


@pytest.mark.parametrize(("size", "patch"), [(8, 1), (12, 2), (28, 4), (32, 4), (64, 8), (224, 28), (211, 211)])
def test_patches(size, patch):
    assert patch_size(size, 8) == patch


def test_same_logits_as_the_library_network():
    theirs = resnet18(weights=None, num_classes=5).eval()
    ours = LibraryNetwork(channels=1, classes=5, size=32, builder=partial(resnet18, weights=None)).eval()
    body, classifier = ours.body, ours.classifier
    with torch.no_grad():
        x_N1HW = torch.randn(2, 1, 32, 32, generator=stream(0, "x"))
        expected = theirs(x_N1HW.repeat(1, 3, 1, 1))
        classifier.load_state_dict(theirs.fc.state_dict())
        body.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
        torch.testing.assert_close(ours(x_N1HW), expected)
    assert ours.feature_dim == 512


def test_bad_networks_are_named():
    with pytest.raises(InputError, match=r"model\.builder=Conv2d: a network whose last layer is linear, to 4"):
        split_at_classifier(nn.Conv2d(3, 4, 1), 4)
    with pytest.raises(InputError, match=r"model\.builder=Sequential"):
        split_at_classifier(nn.Sequential(nn.Linear(3, 5)), 4)
    with pytest.raises(InputError, match=r"data\.channels=2: 1 or 3"):
        LibraryNetwork(channels=2, classes=4, size=32, builder=resnet18)
