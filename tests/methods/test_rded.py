"""RDED's selection against loops in float64 with a linear teacher, and what it refuses."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import nn
from torch.func import functional_call

from moe_distill.data.patches import cut, draw_crops
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.methods.rded import RDED
from moe_distill.models.base import Network
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import Provenance, SyntheticSet
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.training.recipe import Recipe

POOL = PretrainedNetworks(1, functools.partial(ConvNet, norm="batch"), Recipe("teacher", epochs=1))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PER_CLASS, CANDIDATES, CROPS, IPC = 14, 12, 3, 2

pytestmark = pytest.mark.usefixtures("one_thread")


def rded(**changes):
    usual = {
        "mipc": CANDIDATES,
        "crops": CROPS,
        "factor": 1,
        "storage": "float",
        "labels": "hard",
        "teacher": POOL,
    }
    return RDED(**{**usual, **changes})


def real_of(size):
    pixels = torch.randint(
        0, 256, (3 * PER_CLASS, 3, size, size), generator=stream(0, "px"), dtype=torch.uint8
    )
    return RealSet(pixels, torch.arange(3 * PER_CLASS) % 3, ("a", "b", "c"), MEAN, STD, "noise", "test")


def linear_teacher(size):
    network = Network(nn.Flatten(), nn.Linear(3 * size * size, 3, bias=False))
    weight = torch.randn(3, 3 * size * size, generator=stream(0, "teacher")) / size
    network.classifier.weight = nn.Parameter(weight, requires_grad=False)
    return network


def prepared(method, size, seed=0):
    """Return the set that a method fills, and the real images."""
    real = real_of(size)
    provenance = Provenance(
        "noise", "test", "f", real.classes, MEAN, STD, "rded", 0, IPC, method.space, method.tiling
    )
    soft = torch.zeros(3 * IPC, 3) if method.learns_labels else None
    syn = SyntheticSet(torch.zeros(3 * IPC, 3, size, size), provenance, soft_labels=soft)
    network = linear_teacher(size).eval()
    method.prepare(
        SimpleNamespace(syn=syn, real=real, rng=stream(seed, "round"), pretrained={"teacher": [network]})
    )
    return syn, real


def standardised(raw):
    return (raw - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))


def chosen_by_loops(real, c, rng, factor, size):
    """Return the ranked patches of a class: candidates and crops as drawn, then scored one by one in
    float64."""
    rows = [i for i in range(len(real)) if int(real.labels_N[i]) == c]
    order = torch.randperm(PER_CLASS, generator=rng)[:CANDIDATES].tolist()
    raw = torch.stack([real.images_NCHW[rows[i]] for i in order]).double() / 255
    patches = cut(raw, draw_crops(rng, CANDIDATES, CROPS, size), size // factor).numpy()
    weight = linear_teacher(size).classifier.weight.double().numpy()
    winners = []
    for n in range(CANDIDATES):
        losses = []
        for m in range(CROPS):
            canvas, side = np.zeros((3, size, size)), size // factor
            begin = (size - side) // 2
            canvas[:, begin : begin + side, begin : begin + side] = standardised(patches[n, m])
            logits = weight @ canvas.reshape(-1)
            losses.append(np.log(np.exp(logits - logits[c]).sum()))
        winners.append((min(losses), patches[n, int(np.argmin(losses))]))
    return [patch for _, patch in sorted(winners, key=lambda w: w[0])]


@pytest.mark.parametrize(("factor", "size"), [(1, 8), (2, 8), (2, 11)])
def test_the_set_holds_the_patches_that_the_teacher_finds_easiest(factor, size):
    syn, real = prepared(rded(factor=factor), size)
    rng = stream(0, "round")
    for c in range(3):
        ranked = chosen_by_loops(real, c, rng, factor, size)
        first = size // factor + size % factor  # of a side that two do not divide, the first cell is longer
        for j in range(IPC):
            image = syn.images.detach()[c * IPC + j].numpy()
            cells = (
                [image]
                if factor == 1
                else [
                    image[:, rows, columns]
                    for rows in (slice(0, first), slice(first, None))
                    for columns in (slice(0, first), slice(first, None))
                ]
            )
            for k, cell in enumerate(cells):
                patch = ranked[k * IPC + j]
                lines, columns = (np.arange(s) * patch.shape[-1] // s for s in cell.shape[1:])
                np.testing.assert_allclose(cell, patch[:, lines][:, :, columns], rtol=0, atol=2e-6)


def test_stored_labels_are_the_teachers_logits_of_the_stored_images():
    syn, _ = prepared(rded(labels="teacher_stored", storage="png"), 8)
    want = [
        linear_teacher(8).classifier.weight.double().numpy() @ standardised(x.double().numpy()).reshape(-1)
        for x in syn.images.detach()
    ]
    np.testing.assert_allclose(syn.soft_labels.detach().numpy(), want, rtol=0, atol=1e-5)
    hard, _ = prepared(rded(storage="png"), 8)
    assert hard.soft_labels is None and torch.equal(hard.images, syn.images)


def test_images_are_kept_as_they_are_in_eight_bits_or_as_jpeg_files():
    kept = {word: prepared(rded(storage=word), 8)[0].images.detach() for word in ("float", "png", "jpeg75")}
    for word in ("png", "jpeg75"):
        levels = kept[word] * 255
        assert (levels - levels.round()).abs().max() < 1e-4
    assert 0 < (kept["float"] - kept["png"]).max() < 1.001 / 255 and (kept["float"] >= kept["png"]).all()
    assert 0.005 < (kept["jpeg75"] - kept["png"]).abs().mean() < 0.2


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"mipc": 0}, "mipc=0"),
        ({"crops": 0}, "crops=0"),
        ({"factor": 0}, "factor=0"),
        ({"storage": "gif"}, "storage=gif: float or png or jpeg75"),
        ({"labels": "soft"}, "labels=soft: hard or teacher_stored"),
        ({"teacher": PretrainedNetworks(2, ConvNet, POOL.recipe)}, "teacher.networks=2: 1"),
    ],
)
def test_a_setting_out_of_range_is_named(changes, line):
    with pytest.raises(InputError, match=line):
        rded(**changes)


@pytest.mark.parametrize(("ipc", "factor", "fewest", "most"), [(13, 1, 99, 12), (4, 2, 99, 3), (6, 1, 5, 5)])
def test_more_images_than_the_candidates_have_patches_for_are_refused(ipc, factor, fewest, most):
    method = rded(factor=factor)
    method.require_images(most, fewest)
    with pytest.raises(InputError, match=f"ipc={ipc}: at most {most}: {min(12, fewest)} candidates"):
        method.require_images(ipc, fewest)


def test_patches_that_a_whitening_or_the_size_does_not_allow_are_refused():
    rded(factor=8).check(real_of(8))
    with pytest.raises(InputError, match=r"factor=9: at most 8"):
        rded(factor=9).check(real_of(8))
    whitened = SimpleNamespace(size=8, whitening=object())
    rded().check(whitened)
    with pytest.raises(InputError, match=r"factor=2: 1 with normalisation=zca"):
        rded(factor=2).check(whitened)


def test_the_teacher_is_a_trained_convnet_with_batch_norm_that_comes_back_as_it_was(suite):
    given = ("method=rded", "ipc=2", "noe=1")
    suite("pipeline=pretrain", *given)
    plan, runtime = (
        instantiate(suite.compose(*given)[name], _convert_="all") for name in ("plan", "runtime")
    )
    store = runtime.store
    real, _ = plan.data.load(runtime.cache)
    assert plan.labeller is not None and [len(pools) for pools in plan.pretrained.values()] == [1]
    (network,) = plan.labeller.load(store, real)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    steps = -(-len(real) // plan.labeller.recipe.batch_size)
    assert len(norms) == 3 and all(int(n.num_batches_tracked) == steps for n in norms)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    weights = {n: w for n, w in network.state_dict().items() if not n.endswith(("mean", "var"))}
    x = real.normalised(real.images_NCHW[:50])
    fresh = functional_call(
        plan.labeller.blank(real, 0).eval(), weights, x
    )  # statistics of the blank network
    assert not torch.allclose(network(x), fresh, atol=1e-3)
