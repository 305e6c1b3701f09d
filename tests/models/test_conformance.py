"""What every file of conf/model promises, whichever network it names."""

from functools import partial
from pathlib import Path

import hydra.utils
import pytest
import torch
import yaml

from moe_distill.errors import InputError
from moe_distill.models.base import Network, build
from moe_distill.seeding import stream

FILES = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
SIZES = (8, 12, 28, 32, 64)
CASES = [(path, size, channels) for path in FILES for size in SIZES for channels in (1, 3)]
CASES += [(path, 224, 3) for path in FILES if path.stem in ("convnet3", "resnet18")]


def factory(path, width=0.25):
    text = path.read_text().replace("${width}", str(width)).replace("${least_map}", "4")
    return hydra.utils.instantiate(yaml.safe_load(text))


def images(n, channels, size):
    return torch.randn(n, channels, size, size, generator=stream(0, "images", channels, size))


@pytest.mark.parametrize(
    ("path", "size", "channels"), CASES, ids=lambda case: case.stem if isinstance(case, Path) else case
)
def test_contract(path, size, channels):
    width = 0.05 if size == 224 else 0.25
    network = build(factory(path, width), channels=channels, classes=7, size=size, rng=stream(0, "weights"))
    assert isinstance(network, Network)
    x_NCHW = images(2, channels, size).requires_grad_()
    f_ND = network.train().embed(x_NCHW)
    assert (f_ND[0] - f_ND[1]).abs().max() > 0
    logits = network.classifier(f_ND)
    assert logits.shape == (2, 7) and logits.isfinite().all()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 6])).backward()
    gradients = [x_NCHW.grad, *(p.grad for p in network.parameters())]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert network.classifier.weight.grad.abs().max() > 0

    network.eval()
    with torch.no_grad():
        f_ND = network.embed(x_NCHW)
        assert f_ND.shape == (2, network.feature_dim) and network.classifier.in_features == network.feature_dim
        torch.testing.assert_close(network.classifier(f_ND), network(x_NCHW))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_come_from_the_generator_alone(path):
    make = partial(build, factory(path), channels=1, classes=3, size=8)
    state = torch.get_rng_state()
    first, again, other = make(rng=stream(0, "a")), make(rng=stream(0, "a")), make(rng=stream(0, "b"))
    assert torch.equal(torch.get_rng_state(), state)
    same = [torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)]
    assert all(same)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [0, 7, 225])
def test_size_outside_the_range_is_named(path, size):
    with pytest.raises(InputError, match=f"data.size={size}: 8 to 224 pixels"):
        factory(path)(channels=3, classes=10, size=size)
