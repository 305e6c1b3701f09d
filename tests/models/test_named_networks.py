"""Networks by their names in torchvision and timm, of a user's own, and with weights from a file."""

import sys
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from moe_distill.errors import FieldError, InputError
from moe_distill.models.base import rehearse
from moe_distill.models.module_network import ModuleNetwork
from moe_distill.models.torchvision_network import TorchvisionNetwork
from moe_distill.models.weights import WeightsFile
from moe_distill.seeding import stream
from moe_distill.store.identity import describe, key


def last_map(network, images):
    """Return the side of the last map that a network's features are made of."""
    sides = []
    for module in network.modules():
        module.register_forward_hook(lambda *io: sides.append(io[2].shape[-2:]) if is_map(io[2]) else None)
    network.eval()(images)
    return max(side for side in sides[-1])


def is_map(output):
    return isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1


TORCHVISION = [
    "resnet18",
    "mobilenet_v3_small",
    "densenet121",
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
]


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 64)])
def test_the_last_map_of_a_network_of_torchvision_keeps_four_pixels(name, channels, size):
    network = TorchvisionNetwork(channels, 7, size, name=name)
    images = torch.zeros(2, channels, size, size)
    assert network(images).shape == (2, 7)
    assert network.embed(images).shape == (2, network.feature_dim)
    assert last_map(network, images) == 4


def test_a_vision_transformer_of_torchvision_is_that_of_its_patches():
    from torchvision.models import VisionTransformer

    ours = TorchvisionNetwork(3, 5, 32, name="vit_b_16").eval()
    theirs = VisionTransformer(32, 4, 12, 12, 768, 3072, num_classes=5).eval()
    theirs.load_state_dict({**ours.body.state_dict(), **named(ours.classifier, "heads.head")})
    images = torch.randn(2, 3, 32, 32, generator=stream(0, "x"))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def named(module, name):
    return {f"{name}.{part}": value for part, value in module.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["convnext_atto", "resnet10t", "poolformerv2_s12", "swin_tiny_patch4_window7_224"]
)
@pytest.mark.parametrize("size", [32, 64])
def test_the_last_map_of_a_network_of_timm_keeps_four_pixels(name, size):
    from moe_distill.models.timm_network import TimmNetwork

    network = TimmNetwork(3, 7, size, name=name).eval()
    seen = []
    network.body.forward_head = lambda x, **_: seen.append(x.shape) or x.flatten(1)
    network.body(torch.zeros(1, 3, size, size))
    sides = {side for side in seen[0][1:] if side < 16}
    assert sides <= {4, 8} and sides


def test_a_vision_transformer_of_timm_sees_64_patches_whatever_the_size():
    from moe_distill.models.timm_network import TimmNetwork

    for size, patch in ((32, 4), (64, 8)):
        network = TimmNetwork(1, 7, size, name="vit_tiny_patch16_224")
        assert network.body.patch_embed.proj.kernel_size == (patch, patch)
        assert network.body.pos_embed.shape[1] == 65  # and the class token
        assert network(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_a_name_that_a_library_does_not_have():
    from moe_distill.models.timm_network import TimmNetwork

    with pytest.raises(FieldError, match=r"name=resnet19: a network of torchvision .*, such as resnet18"):
        TorchvisionNetwork(3, 10, 32, name="resnet19")
    with pytest.raises(FieldError, match=r"name=convnext_ato: a network of timm .*, such as convnext_atto"):
        TimmNetwork(3, 10, 32, name="convnext_ato")
    with pytest.raises(FieldError, match=r"name=levit_128s: a network whose classifier is one linear layer"):
        TimmNetwork(3, 10, 32, name="levit_128s")
    with pytest.raises(InputError, match=r"data.size=300: 8 to 224 pixels"):
        TimmNetwork(3, 10, 300, name="resnet10t")


def test_without_timm_its_extra_is_named(monkeypatch):
    from moe_distill.models.timm_network import TimmNetwork

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(FieldError, match=r"name=resnet10t: .* pip install 'moe_distill\[timm\]'"):
        TimmNetwork(3, 10, 32, name="resnet10t")


def test_weights_of_a_file_start_a_network_and_its_classifier_only_for_the_same_classes(tmp_path):
    trained = TorchvisionNetwork(3, 7, 32, name="resnet18")
    file = tmp_path / "weights.safetensors"
    save_file({**trained.body.state_dict(), **named(trained.classifier, "fc")}, file)
    weights = WeightsFile(file)
    same, other = (TorchvisionNetwork(3, c, 32, name="resnet18", weights=weights) for c in (7, 5))
    for network in (same, other):
        for name, value in trained.body.state_dict().items():
            assert torch.equal(network.body.state_dict()[name], value), name
    assert torch.equal(same.classifier.weight, trained.classifier.weight)
    assert other.classifier.weight.shape == (5, 512)
    with pytest.raises(FieldError, match=r"weights.path=.*: weights of ResNet as it is for these images; "):
        TorchvisionNetwork(3, 7, 32, name="resnet34", weights=weights)
    torch.save(
        {"state_dict": {**trained.body.state_dict(), **named(trained.classifier, "fc")}}, tmp_path / "w.pt"
    )
    of_torch = TorchvisionNetwork(3, 7, 32, name="resnet18", weights=WeightsFile(tmp_path / "w.pt"))
    assert torch.equal(of_torch.classifier.weight, trained.classifier.weight)


def test_weights_of_timm_are_resampled_to_smaller_patches(tmp_path):
    import timm

    from moe_distill.models.timm_network import TimmNetwork

    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224", num_classes=3).state_dict(), file)
    network = TimmNetwork(3, 7, 32, name="vit_tiny_patch16_224", weights=WeightsFile(file))
    again = TimmNetwork(3, 7, 32, name="vit_tiny_patch16_224", weights=WeightsFile(file))
    assert torch.equal(network.body.patch_embed.proj.weight, again.body.patch_embed.proj.weight)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_network_with_weights_can_be_tried_before_it_is_built(tmp_path, library):
    from moe_distill.models.timm_network import TimmNetwork

    kind = {"timm": TimmNetwork, "torchvision": TorchvisionNetwork}[library]
    made = kind(3, 7, 32, name="resnet18")
    save_file({**made.body.state_dict(), **named(made.classifier, "fc")}, tmp_path / "w.safetensors")
    with_weights = partial(kind, name="resnet18", weights=WeightsFile(tmp_path / "w.safetensors"))
    rehearse(with_weights, channels=3, classes=7, size=32)
    assert torch.equal(with_weights(3, 7, 32).classifier.weight, made.classifier.weight)


def test_the_key_of_weights_is_their_content(tmp_path):
    first, moved, other = (tmp_path / name for name in ("a.pt", "b.pt", "c.pt"))
    first.write_bytes(b"one")
    moved.write_bytes(b"one")
    other.write_bytes(b"two")
    keys = [
        key(partial(TorchvisionNetwork, name="resnet18", weights=WeightsFile(p)))
        for p in (first, moved, other)
    ]
    assert keys[0] == keys[1] != keys[2]
    before = keys[0]
    first.write_bytes(b"three")
    assert key(partial(TorchvisionNetwork, name="resnet18", weights=WeightsFile(first))) != before
    assert describe(WeightsFile(moved)).startswith("sha256:")
    with pytest.raises(FieldError, match=r"path=.*none: a file of weights that is there"):
        WeightsFile(tmp_path / "none")


def of_numbers(num_classes, img_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * img_size**2, 4), nn.ReLU(), nn.Linear(4, num_classes))


def of_nothing():
    return of_numbers(10, 8)


def of_anything(**known):
    return of_numbers(known["classes"], known["size"])


@pytest.mark.parametrize("builder", [of_numbers, of_nothing, of_anything, partial(of_numbers, img_size=8)])
def test_a_network_of_ones_own_is_called_with_what_it_takes(builder):
    network = ModuleNetwork(channels=3, classes=10, size=8, builder=builder)
    assert network.feature_dim == 4 and network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    images = torch.randn(2, 3, 8, 8, generator=stream(0, "x"))
    torch.testing.assert_close(network(images), network.classifier(network.embed(images)))


def test_networks_of_ones_own_that_cannot_serve_are_named():
    shape = {"channels": 3, "classes": 7, "size": 8}
    with pytest.raises(InputError, match="a network whose last layer is linear, to 7"):
        rehearse(partial(ModuleNetwork, builder=of_nothing), **shape)
    with pytest.raises(FieldError, match=r"builder=int: a function that returns a torch.nn.Module"):
        rehearse(partial(ModuleNetwork, builder=int), **shape)


class Probable(torch.nn.Sequential):
    """Ends in probabilities instead of logits."""

    def __init__(self, classes):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(192, classes), torch.nn.Softmax(1))


class Reshaped(torch.nn.Module):
    """Ends in a view of its logits."""

    def __init__(self, classes):
        super().__init__()
        self.head = torch.nn.Linear(192, classes)

    def forward(self, x):
        return self.head(x.flatten(1)).view(len(x), -1)


def test_a_step_behind_the_last_layer_is_refused_as_it_would_come_before_it():
    shape = {"channels": 3, "classes": 7, "size": 8}
    with pytest.raises(FieldError, match=r"builder=Probable: a network whose last step is a linear layer"):
        rehearse(partial(ModuleNetwork, builder=Probable), **shape)
    rehearse(partial(ModuleNetwork, builder=Reshaped), **shape)
