"""One iteration of every method on a CUDA device is that of the CPU: same draws, same numbers to rounding."""

import pytest
import torch
from test_method_conformance import METHODS, spec_of

from moe_distill.experts.expert import Expert
from moe_distill.testing.stand_ins import OWNER, noise_set, resources

__all__ = ["spec_of"]

TILED = ("random_tiled", "herding_tiled", "kcenter_tiled", "kmeans_tiled")
RANKED = tuple(f"{rule}{end}" for rule in ("el2n", "forgetting", "aum", "ccs") for end in ("", "_tiled"))
SELECTIONS = ("first", "random", "herding", "kcenter", "kmeans", "rded", *TILED, *RANKED)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
pytestmark.append(pytest.mark.usefixtures("exact_matrix_products"))


def iterated(spec, device):
    """Return the initial images of an expert, its images after an iteration, and what it shows."""
    made = Expert(0, spec, torch.arange(0, 60, 2), resources(noise_set(3, 12))).to(device)
    made.start()
    start = made.synthetic.images.detach().cpu().clone()
    made.iterate(0, made.configure_optimizers(), OWNER)
    assert made.synthetic.images.device.type == torch.device(device).type
    return start, made.synthetic.images.detach().cpu(), made.last_scalars


@pytest.mark.parametrize("method", [m for m in METHODS if m not in SELECTIONS])
def test_an_iteration_on_the_device_is_that_of_the_cpu(spec_of, method):
    (start, here, shown), (begin, there, seen) = (iterated(spec_of(method), d) for d in ("cpu", "cuda"))
    torch.testing.assert_close(begin, start, rtol=1e-4, atol=1e-5)
    assert (here - start).norm() > 0
    assert (there - here).norm() < 0.02 * (here - start).norm()
    assert seen == pytest.approx(shown, rel=5e-3)


@pytest.mark.parametrize("method", SELECTIONS)
def test_a_selection_on_the_device_is_that_of_the_cpu(spec_of, method):
    (here, _, _), (there, _, _) = (iterated(spec_of(method), d) for d in ("cpu", "cuda"))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-6)
