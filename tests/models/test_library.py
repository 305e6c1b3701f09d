from functools import partial

import pytest
import torch
from conftest_networks import loaded
from torch import nn
from torchvision.models import resnet18, resnet50, swin_t

from moe_distill.errors import InputError
from moe_distill.models.base import build
from moe_distill.models.library import LibraryNetwork, patch_size, split_at_classifier
from moe_distill.seeding import stream


@pytest.mark.parametrize(
    ("size", "patch"), [(8, 1), (12, 2), (28, 4), (32, 4), (64, 8), (224, 28), (211, 211)]
)
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


def test_swin_with_patches_and_windows_of_the_published_size_is_the_library_network():
    theirs = swin_t(weights=None, num_classes=5).eval()
    builder = partial(loaded("swin_t").keywords["builder"], window_size=[7, 7])
    ours = LibraryNetwork(channels=3, classes=5, size=224, builder=builder, tokens=56).eval()
    ours.body.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("head.")})
    ours.classifier.load_state_dict(theirs.head.state_dict())
    x_N3HW = torch.randn(2, 3, 224, 224, generator=stream(0, "x"))
    with torch.no_grad():
        torch.testing.assert_close(ours(x_N3HW), theirs(x_N3HW))


@pytest.mark.parametrize(("size", "sides"), [(8, [8, 4, 2, 1]), (32, [16, 8, 4, 2]), (64, [16, 8, 4, 2])])
def test_swin_sees_small_images_as_maps_of_sixteen_patches(size, sides):
    network = loaded("swin_t")(channels=1, classes=2, size=size).eval()
    seen = []
    for stage in network.body.features[1::2]:
        stage.register_forward_hook(lambda *io: seen.append(io[2].shape[1]))
    with torch.no_grad():
        assert network.embed(torch.zeros(1, 1, size, size)).shape == (1, 768)
    assert seen == sides


def test_bad_networks_are_named():
    with pytest.raises(
        InputError, match=r"model\.builder=Conv2d: a network whose last layer is linear, to 4"
    ):
        split_at_classifier(nn.Conv2d(3, 4, 1), 4)
    with pytest.raises(InputError, match=r"model\.builder=Sequential"):
        split_at_classifier(nn.Sequential(nn.Linear(3, 5)), 4)
    with pytest.raises(InputError, match=r"data\.channels=2: 1 or 3"):
        LibraryNetwork(channels=2, classes=4, size=32, builder=resnet18)


def last_map(network, size):
    """Return the side of the last wide map."""
    seen = []
    hooks = [
        m.register_forward_hook(lambda *io: seen.append(io[2].shape[-1])) for m in convolutions(network, 320)
    ]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return seen[-1]


def convolutions(network, least_channels):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.out_channels >= least_channels]


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        *(
            ("mobilenet_v2", size, side)
            for size, side in ((8, 4), (12, 6), (32, 4), (64, 4), (96, 6), (224, 7))
        ),
        *(("resnet50", 8, 4), ("resnet50", 32, 4), ("resnet50", 224, 7)),
    ],
)
def test_small_images_keep_a_map_of_four_pixels_and_large_ones_the_library_networks(name, size, side):
    network = loaded(name)(channels=3, classes=2, size=size)
    assert last_map(network, size) == side
    if size == 224:
        theirs = loaded(name, least_map=None)(channels=3, classes=2, size=size)
        assert str(theirs) == str(network)


def test_at_32_pixels_a_resnet_has_the_stem_of_its_small_form_and_its_later_halvings():
    body = loaded("resnet50")(channels=3, classes=2, size=32).body
    x = torch.randn(1, 64, 16, 16, generator=stream(0, "x"))
    assert body.conv1.stride == (1, 1) and torch.equal(body.maxpool(x), x)
    for block in (body.layer2[0], body.layer3[0], body.layer4[0]):
        assert block.conv2.stride == block.downsample[0].stride == (2, 2)
    tiny = loaded("resnet50")(channels=3, classes=2, size=8).body
    strides = [
        (b.conv2.stride, b.downsample[0].stride) for b in (tiny.layer2[0], tiny.layer3[0], tiny.layer4[0])
    ]
    assert strides == [((1, 1), (1, 1)), ((1, 1), (1, 1)), ((2, 2), (2, 2))]


def test_images_without_a_least_map_leave_the_library_network_as_it_is():
    ours = LibraryNetwork(3, 2, 32, partial(resnet50, weights=None))
    assert ours.body.conv1.stride == (2, 2) and ours.body.maxpool.stride == 2


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "efficientnet_b0"])
def test_batch_norm_gives_way_only_where_the_yaml_says_so(name):
    def norms(**changes):
        network = loaded(name, **changes)(channels=3, classes=2, size=8)
        kinds = (nn.BatchNorm2d, nn.GroupNorm)
        return {type(m) for m in network.modules() if isinstance(m, kinds)}, [m for m in network.modules()]

    assert norms()[0] == {nn.BatchNorm2d}
    kinds, modules = norms(norm="instance")
    assert kinds == {nn.GroupNorm}
    assert all(m.num_groups == m.num_channels for m in modules if isinstance(m, nn.GroupNorm))
    with pytest.raises(InputError, match=r"norm=layers: instance or batch or group or layer or none"):
        norms(norm="layers")


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_a_network_without_batch_norm_sees_each_image_alone(norm):
    factory = loaded("mobilenet_v2", norm=norm)
    network = build(factory, channels=3, classes=2, size=8, rng=stream(0, "w")).eval()
    x = torch.randn(3, 3, 8, 8, generator=stream(1, "x"))
    with torch.no_grad():
        torch.testing.assert_close(network(x)[1:2], network(x[1:2]), rtol=1e-4, atol=1e-5)
    assert not list(network.buffers())
