"""CLoM and CCLoM against sums written out over all pairs in float64, and the draws they are made of."""

import functools
from types import SimpleNamespace

import pytest
import torch
from conftest_methods import DoubleReal, new_network

from moe_distill.errors import InputError
from moe_distill.methods.regularizers import clom
from moe_distill.methods.regularizers.clom import CCLoM, CLoM, share_of_own_class
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import Provenance, SyntheticSet
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.training.recipe import Recipe

POOL = PretrainedNetworks(1, functools.partial(ConvNet, depth=1), Recipe("t", epochs=2))
SPACES, PLAIN = ["raw", "standardised"], Tiling()


def networks(*counts):
    """Return frozen float64 networks for pools of these sizes."""
    return [
        [new_network(stream(i, j)).eval().requires_grad_(False) for j in range(n)]
        for i, n in enumerate(counts)
    ]


def synthetic(real, space="standardised", tiling=PLAIN, soft=False, ipc=2):
    given = ("noise", "test", real.fingerprint, real.classes, real.mean, real.std, "m", 0, ipc, space, tiling)
    images = torch.randn(3 * ipc, 3, 8, 8, generator=stream(5, "images"), dtype=torch.float64)
    labels = torch.randn(3 * ipc, 3, generator=stream(6, "labels"), dtype=torch.float64) if soft else None
    return SyntheticSet(images, Provenance(*given), soft_labels=labels)


class RecordedCost(DoubleReal):
    """A real set that notes which rows were asked for."""

    def __init__(self, real):
        super().__init__(real)
        self.rows = []

    def at(self, rows_B):
        self.rows.append(rows_B.clone())
        return super().at(rows_B)


def seen_by_networks(syn, real):
    """Return the decoded images standardised and their labels, a tile at a time, as written down."""
    images = syn.tiling.decode(syn.images)
    if syn.provenance.space == "raw":
        images = torch.stack([(images[:, c] - real.mean[c]) / real.std[c] for c in range(3)], 1)
    return images, [n % len(syn.images) // syn.provenance.ipc for n in range(len(images))]


def cross_entropy(network, images, labels):
    logits = [network(x[None])[0] for x in images]
    return sum(z.exp().sum().log() - z[y] for z, y in zip(logits, labels, strict=True)) / len(labels)


def ratio(f, labels, g, real_labels):
    """Return Eq. 2.2 from every single distance."""
    above = below = 0.0
    for a, y in zip(f, labels, strict=True):
        for b, t in zip(g, real_labels, strict=True):
            distance = 1 - (a @ b) / (a @ a).sqrt() / (b @ b).sqrt()
            below += distance
            above += distance * (int(y) == int(t))
    return above / below


def gradient(value, syn):
    return torch.autograd.grad(value, syn.images)[0]


@pytest.mark.parametrize("chunk", [512, 4], ids=["whole", "in chunks"])
@pytest.mark.parametrize("tiling", [Tiling(), Tiling(2)], ids=["plain", "tiled"])
@pytest.mark.parametrize("space", SPACES)
def test_clom_is_the_mean_cross_entropy_of_the_decoded_images(real, space, tiling, chunk, monkeypatch):
    monkeypatch.setattr(clom, "_CHUNK", chunk)
    syn, ((network,),) = synthetic(real, space, tiling), (pools := networks(1))
    found = CLoM([POOL], alpha=7.0).loss(syn, real, pools, stream(0))
    wanted = 7.0 * cross_entropy(network, *seen_by_networks(syn, real))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient(found, syn), gradient(wanted, syn), rtol=1e-8, atol=1e-12)
    assert gradient(CLoM([POOL], alpha=7.0).loss(syn, real, pools, stream(0)), syn).flatten(1).any(1).all()


@pytest.mark.parametrize("chunk", [512, 4], ids=["whole", "in chunks"])
@pytest.mark.parametrize("space", SPACES)
def test_cclom_is_the_share_of_the_distances_within_classes(real, space, chunk, monkeypatch):
    monkeypatch.setattr(clom, "_CHUNK", chunk)
    syn, noted, ((network,),) = synthetic(real, space, Tiling(2)), RecordedCost(real), (pools := networks(1))
    found = CCLoM([POOL], alpha=3.0, real_batch=25).loss(syn, noted, pools, stream(0))
    rows = torch.cat(noted.rows)
    assert len(rows) == 25
    x, labels = seen_by_networks(syn, real)
    y, real_labels = DoubleReal(real).at(rows)
    wanted = 3.0 * ratio(network.embed(x), labels, network.embed(y), real_labels)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient(found, syn), gradient(wanted, syn), rtol=1e-8, atol=1e-14)


def test_features_given_directly_have_the_gradient_of_the_ratio():
    f, g = (torch.randn(n, 7, generator=stream(n), dtype=torch.float64) for n in (6, 11))
    f.requires_grad_(), g.requires_grad_()
    y, t = torch.arange(6) // 2, torch.arange(11) % 3
    found = share_of_own_class(f, y, g, t, 3)
    wanted = ratio(f, y, g.detach(), t)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(found, f)[0], torch.autograd.grad(wanted, f)[0], rtol=1e-8, atol=0
    )
    assert not torch.autograd.grad(share_of_own_class(f, y, g, t, 3), g, allow_unused=True)[0]


def test_the_ratio_is_one_class_in_so_many_by_chance_and_nothing_where_classes_are_alone():
    f, g = (torch.randn(n, 64, generator=stream(n)) for n in (500, 4000))
    labels = functools.partial(torch.randint, 10, generator=stream(1))
    assert float(share_of_own_class(f, labels((500,)), g, labels((4000,)), 10)) == pytest.approx(
        0.1, abs=0.003
    )
    axes, y = torch.eye(10), torch.arange(10)
    assert float(share_of_own_class(2 * axes, y, 3 * axes, y, 10)) == pytest.approx(0.0, abs=1e-6)
    assert float(share_of_own_class(axes, y, axes, y.roll(1), 10)) > 0.1


@pytest.mark.parametrize("f", [torch.zeros(4, 3), torch.ones(4, 3)], ids=["zeros", "one direction"])
def test_features_without_a_distance_give_a_finite_ratio(f):
    f.requires_grad_()
    found = share_of_own_class(f, torch.tensor([0, 0, 1, 1]), torch.ones(4, 3), torch.tensor([0, 1, 0, 1]), 2)
    assert torch.isfinite(found) and torch.isfinite(torch.autograd.grad(found, f)[0]).all()


@pytest.mark.parametrize("term", [CLoM([POOL]), CCLoM([POOL])], ids=["clom", "cclom"])
def test_soft_labels_and_networks_get_no_gradient_and_change_nothing(real, term):
    pools = networks(1)
    hard, soft = (
        term.loss(synthetic(real, soft=q), DoubleReal(real), pools, stream(0)) for q in (False, True)
    )
    assert torch.equal(hard, soft)
    syn = synthetic(real, soft=True)
    term.loss(syn, DoubleReal(real), pools, stream(0)).backward()
    assert syn.images.grad.any() and syn.soft_labels.grad is None
    assert all(p.grad is None for p in pools[0][0].parameters())


def test_an_architecture_is_drawn_uniformly_then_a_copy():
    term, names = CLoM([POOL] * 3, alpha=(1.0, 2.0, 3.0)), [["a"], ["b", "c", "d"], ["e", "f"]]
    rng, draws = stream(3, "draws"), 6000
    found = [term.draw(names, rng) for _ in range(draws)]
    share = {name: sum(n == name for n, _ in found) / draws for name in "abcdef"}
    wanted = {"a": 1 / 3, "b": 1 / 9, "c": 1 / 9, "d": 1 / 9, "e": 1 / 6, "f": 1 / 6}
    assert share == pytest.approx(wanted, abs=0.02)  # three standard deviations
    assert set(found) == {("a", 1.0), *((n, 2.0) for n in "bcd"), *((n, 3.0) for n in "ef")}


def test_real_images_are_drawn_uniformly_with_replacement_from_all(real):
    noted, syn, rng = RecordedCost(real), synthetic(real), stream(9)
    term, pools = CCLoM([POOL], real_batch=8196), networks(1)
    for _ in range(100):
        term.loss(syn, noted, pools, rng)
    assert {len(rows) for rows in noted.rows} == {len(real)}  # no more than there are
    assert sum(len(rows.unique()) for rows in noted.rows) / 6000 == pytest.approx(
        1 - (1 - 1 / 60) ** 60, abs=0.02
    )
    counts = torch.cat(noted.rows).bincount(minlength=60).float()
    assert float((counts - 100).square().sum() / 100) < 98  # χ² of 59 degrees of freedom, one in a thousand


def test_networks_of_other_classes_serve_cclom_alone():
    def classes(*names):
        return SimpleNamespace(classes=names, name="other" if "z" in names else "own")

    own, other, turned = classes("a", "b"), classes("a", "b", "z"), classes("b", "a")
    CLoM([POOL]).check(own, [own, classes("a", "b")])
    CCLoM([POOL]).check(own, [other, turned])
    for wrong in (other, turned):
        with pytest.raises(
            InputError, match=r"^regulariser=clom with networks of .*cclom takes those"
        ) as error:
            CLoM([POOL]).check(own, [own, wrong])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "alpha", [-1.0, float("nan"), float("inf"), (1.0,), (1.0, 2.0, 3.0), (1.0, -2.0), "1"]
)
def test_an_alpha_that_does_not_fit_is_refused(alpha):
    with pytest.raises(InputError, match=r"^alpha=.*a list"):
        CLoM([POOL, POOL], alpha=alpha)


def test_no_networks_and_no_real_images_are_refused():
    with pytest.raises(InputError, match=r"^pools.architectures=none"):
        CLoM([])
    with pytest.raises(InputError, match=r"^real_batch=0"):
        CCLoM([POOL], real_batch=0)


def test_results_are_told_the_term_its_weight_and_its_networks():
    assert CLoM([POOL]).title == "clom-1000-convnet-1x2ep"
    more = PretrainedNetworks(3, POOL.network, Recipe("t", epochs=9), data=SimpleNamespace(name="elsewhere"))
    assert (
        CCLoM([POOL, more, more], (1.0, 2.5, 1.0)).title
        == "cclom-1/2.5/1-convnet-1x2ep+convnet/convnet-3x9ep@elsewhere-batch8196"
    )
    assert (CLoM([POOL]).forward_passes(20, 500), CCLoM([POOL], real_batch=90).forward_passes(20, 500)) == (
        60,
        150,
    )
