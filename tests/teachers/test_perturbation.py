"""Weights moved in a random direction: sizes by the formula, what stays, and the limit on trajectories."""

import copy

import numpy as np
import pytest
import torch

from moe_distill.errors import FieldError
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import global_seed, stream
from moe_distill.teachers.perturbation import MOST_OF_THE_WAY, Perturbation, perturbed

DRAWS = 4000


def network(norm="batch"):
    with global_seed(stream(0, "perturbed")):
        made = ConvNet(channels=3, classes=4, size=8, width=0.0625, norm=norm)
        for p in made.parameters():
            torch.nn.init.normal_(p)  # also norms, whose initial ones and zeros would hide a change
    return made


def state(seed=0):
    rng = stream(seed, "weights")
    shapes = {"conv": (5, 3, 2, 2), "token": (1, 1, 6), "linear": (4, 7), "bias": (5,), "scale": ()}
    return {name: torch.randn(shape, generator=rng, dtype=torch.float64) for name, shape in shapes.items()}


def relative_sizes(before, after):
    """Return ‖change‖ / ‖row‖ of each row of each tensor, row by row in NumPy."""
    sizes = {}
    for name, weight in before.items():
        w, change = weight.numpy(), (after[name] - weight).numpy()
        if w.ndim >= 2:
            sizes[name] = [
                np.sqrt((change[row] ** 2).sum()) / np.sqrt((w[row] ** 2).sum()) for row in range(len(w))
            ]
    return sizes


def test_every_row_moves_by_one_share_of_its_norm_and_vectors_stay():
    before = state()
    kept = copy.deepcopy(before)
    after = perturbed(before, stream(1, "x"), 0.01, 0.09)
    sizes = relative_sizes(before, after)
    assert sizes.keys() == {"conv", "token", "linear"} and [*map(len, sizes.values())] == [5, 1, 4]
    shares = np.concatenate([*sizes.values()])
    assert 0.014 < shares[0] < 0.128 and np.allclose(shares, shares[0], rtol=1e-6)
    for name in ("bias", "scale"):
        assert torch.equal(after[name], before[name])
    assert all(torch.equal(before[name], kept[name]) for name in before)


def test_a_row_of_zeros_stays_one():
    moved = perturbed({"w": torch.zeros(2, 3)}, stream(0, "x"), 0.01, 0.09)["w"]
    assert torch.equal(moved, torch.zeros(2, 3))


def test_directions_are_gaussian_and_independent():
    """Over many draws each entry has the same mean square and no correlation with another one."""
    weight = torch.ones(1, 4, dtype=torch.float64)
    steps = torch.stack(
        [perturbed({"w": weight}, stream(n, "direction"), 0.1, 0.1)["w"][0] - 1 for n in range(DRAWS)]
    )
    # r is 0.1·√2 and the row's norm 2: a mean square of 0.02·4/4 each.
    second_moments = steps.T @ steps / DRAWS
    torch.testing.assert_close(second_moments, 0.02 * torch.eye(4, dtype=torch.float64), atol=1.5e-3, rtol=0)
    assert steps.mean(0).abs().max() < 4 * (0.02 / DRAWS) ** 0.5


def test_the_size_has_the_published_distribution():
    """√(a² + b²) of two numbers uniform from 0.01 to 0.09, drawn by NumPy; 0.074 on average."""
    weight = {"w": torch.eye(1, 2, dtype=torch.float64)}
    ours = np.array(
        [
            (perturbed(weight, stream(n, "size"), 0.01, 0.09)["w"] - weight["w"]).norm().item()
            for n in range(DRAWS)
        ]
    )
    expected = np.hypot(*np.random.default_rng(0).uniform(0.01, 0.09, (2, 200_000)))
    assert expected.mean() == pytest.approx(0.074, abs=5e-4)
    assert ours.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / DRAWS**0.5)
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.quantile(ours, share) == pytest.approx(np.quantile(expected, share), abs=2e-3)
    assert ours.min() > 0.01 * 2**0.5 and ours.max() < 0.09 * 2**0.5


def test_a_copy_is_perturbed_and_the_network_never():
    original = network().eval().requires_grad_(False)
    original.body[1].running_mean.fill_(3.0)
    kept = copy.deepcopy(original.state_dict())
    copied = Perturbation().copy_of(original, stream(0, "x"))
    assert all(torch.equal(kept[name], value) for name, value in original.state_dict().items())
    expected = perturbed(dict(original.named_parameters()), stream(0, "x"), 0.01, 0.09)
    changed = {name for name, p in copied.named_parameters() if not torch.equal(p, kept[name])}
    assert changed == {name for name, p in original.named_parameters() if p.dim() >= 2}
    assert all(torch.equal(p, expected[name]) for name, p in copied.named_parameters())
    assert all(torch.equal(buffer, kept[name]) for name, buffer in copied.named_buffers())
    assert not copied.training and not any(p.requires_grad for p in copied.parameters())
    copied.body[0].weight.data.zero_()
    assert original.body[0].weight.any()


@pytest.mark.parametrize("way", [1e-3, 1e3])
def test_a_start_moves_by_at_most_its_share_of_the_way(way):
    weights = [p.detach().double() for p in network().parameters()]
    shapes = [w.shape for w in weights]
    start = torch.cat([w.flatten() for w in weights])
    target = start + way * torch.nn.functional.normalize(
        torch.randn(start.shape, generator=stream(0, "way"), dtype=torch.float64), dim=0
    )
    moved = Perturbation().near(start, target, shapes, stream(1, "x"))
    by_name = {str(n): w for n, w in enumerate(weights)}
    whole = perturbed(by_name, stream(1, "x"), 0.01, 0.09)
    step = torch.cat([whole[name].flatten() for name in by_name]) - start
    if way < 1:
        assert (moved - start).norm().item() == pytest.approx(MOST_OF_THE_WAY * way, rel=1e-6)
        assert torch.nn.functional.cosine_similarity(moved - start, step, dim=0) > 0.999
    else:
        torch.testing.assert_close(moved - start, step)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0.2}, "low=0.2: at most high=0.09"),
        ({"low": 0}, "low=0: a number above 0"),
        ({"high": "x"}, "high=x: a number above 0"),
    ],
)
def test_sizes_that_are_none_are_refused(settings, message):
    with pytest.raises(FieldError, match=f"^{message}"):
        Perturbation(**settings)
