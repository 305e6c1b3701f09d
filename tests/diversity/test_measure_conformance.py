"""What every configured diversity measure must satisfy."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from moe_distill.diversity import measures, unpaired
from moe_distill.seeding import stream

CONFIGS = sorted((Path(__file__).parents[2] / "conf/diversity/measure").glob("*.yaml"))


def randn(*shape, name="x"):
    return torch.randn(*shape, generator=stream(0, name))


def gradient(measure, f, g):
    f = f.clone().requires_grad_()
    return torch.autograd.grad(measure(f, g), f)[0]


def test_all_measures_are_configured():
    assert len(CONFIGS) >= 12
    targets = {OmegaConf.load(path)["_target_"].rpartition(".")[2] for path in CONFIGS}
    classes = {
        name
        for module in (measures, unpaired)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, measures.Measure) and not name.startswith("_")
    }
    assert targets == classes - {"Measure"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_conformance(path):
    """Every measure, relu of the signed one included, is lower for independent than for identical features."""
    measure = instantiate(OmegaConf.load(path))
    f, g = randn(20, 6), randn(20, 6, name="y")
    for a, b in ((f, g), (f, f + 0.5 * g), (f.relu(), g.relu())):
        value = measure(a, b)
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        torch.testing.assert_close(value, measure(b, a), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            gradient(measure, a, b), gradient(lambda x, y: measure(y, x), a, b), atol=1e-6, rtol=1e-4
        )
        assert gradient(measure, a, b).isfinite().all()
    assert measure(f, g) < measure(f, f.clone()) - 1e-3
    if not measure.paired:
        assert torch.isfinite(measure(f[:13], g))
