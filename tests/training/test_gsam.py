"""GSAM: its step against the formulas written out, and how networks are trained by it."""

import functools

import pytest
import torch
from torch import nn

from moe_distill.errors import InputError
from moe_distill.models.base import Network, build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.training.cohort import InTurn, cohort
from moe_distill.training.optimizers import GSAM
from moe_distill.training.recipe import Recipe

CONVNET = functools.partial(ConvNet, depth=1, width=0.0625)


def problem(seed=0, n=5):
    """Return two parameters and a loss that is no quadratic."""
    rng = stream(seed, "gsam")
    shapes = ((n, 3), (3,))
    weights = [torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for shape in shapes]
    x, y = torch.randn(8, n, generator=rng, dtype=torch.float64), torch.arange(8) % 3
    return weights, lambda w: nn.functional.cross_entropy((x @ w[0]).tanh() * 2 + w[1], y)


def by_hand(weights, loss_of, lr, rho, alpha, adaptive, decay):
    """Return the weights after one step, all of them as one long vector of the formulas."""
    sizes = [w.numel() for w in weights]

    def gradient(theta):
        parts = [
            p.view_as(w).detach().requires_grad_() for p, w in zip(theta.split(sizes), weights, strict=True)
        ]
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss_of(parts), parts)])

    theta = torch.cat([w.detach().flatten() for w in weights])
    g = gradient(theta)
    e = rho * theta**2 * g / torch.sqrt(((theta.abs() * g) ** 2).sum()) if adaptive else rho * g / g.norm()
    gp = gradient(theta + e)
    cosine = (g @ gp) / (g.norm() * gp.norm())
    orthogonal = g - cosine * g.norm() * gp / gp.norm()
    assert abs(float(orthogonal @ gp)) < 1e-12 < float(orthogonal.norm())
    return theta - lr * (gp - alpha * orthogonal + decay * theta)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_three_steps_follow_the_formulas(alpha, adaptive, decay):
    weights, loss_of = problem()
    optimizer = GSAM(weights, lr=0.1, rho=0.5, alpha=alpha, adaptive=adaptive, weight_decay=decay)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(weights)
        loss.backward()
        return loss

    for _ in range(3):
        want = by_hand(weights, loss_of, 0.1, 0.5, alpha, adaptive, decay)
        before = float(loss_of(weights).detach())
        assert float(optimizer.step(closure).detach()) == before
        got = torch.cat([w.detach().flatten() for w in weights])
        assert torch.allclose(got, want, rtol=1e-12, atol=1e-13)


def test_groups_are_perturbed_together_and_decay_each_by_its_own_rate():
    weights, loss_of = problem()
    groups = [{"params": weights[:1], "weight_decay": 0.1}, {"params": weights[1:], "weight_decay": 0.0}]
    optimizer = GSAM(groups, lr=0.1, rho=0.5, alpha=0.3)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(weights)
        loss.backward()
        return loss

    without = by_hand(weights, loss_of, 0.1, 0.5, 0.3, True, 0.0)
    decayed = 0.1 * 0.1 * torch.cat([weights[0].detach().flatten(), torch.zeros(3, dtype=torch.float64)])
    optimizer.step(closure)
    got = torch.cat([w.detach().flatten() for w in weights])
    assert torch.allclose(got, without - decayed, rtol=1e-12, atol=1e-13)


def test_without_a_gradient_the_weights_stay_finite_and_put():
    (weights, _) = problem()
    held = [w.detach().clone() for w in weights]
    optimizer = GSAM(weights, lr=0.1, rho=0.5, alpha=0.3)

    def closure():
        optimizer.zero_grad()
        loss = sum((w * 0).sum() for w in weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert all(torch.equal(w, before) for w, before in zip(weights, held, strict=True))


@pytest.mark.parametrize(("given", "key"), [({"rho": 0.0}, "rho"), ({"alpha": -0.1}, "alpha")])
def test_settings_out_of_range_are_refused(given, key):
    with pytest.raises(InputError, match=f"^{key}=") as refused:
        GSAM(problem()[0], **{"lr": 0.1, "rho": 0.01, "alpha": 0.3, **given})
    assert "\n" not in str(refused.value)


class Dropping(Network):
    """A linear network that drops out half of its input."""

    def __init__(self, channels, classes, size):
        super().__init__(nn.Sequential(nn.Flatten(), nn.Dropout(0.5)), nn.Linear(channels * size**2, classes))


def recipe(**optimizer):
    return Recipe("r", epochs=1, weight_decay=0.0, optimizer=functools.partial(GSAM, alpha=0.3, **optimizer))


def batch():
    x = torch.randn(6, 1, 8, 8, generator=stream(0, "x"))
    return x, nn.functional.one_hot(torch.arange(6) % 3, 3).float()


def test_both_passes_of_a_step_drop_out_alike():
    (network,) = (build(Dropping, channels=1, classes=3, size=8, rng=stream(0, "n")),)
    seen = []
    network.classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    trained, rng = InTurn([network], recipe(rho=0.01)), stream(0, "drop")
    for _ in range(2):
        trained.step([batch()], [rng])
    first, again, second, _ = seen
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_a_step_takes_as_many_draws_as_any_other_optimisers():
    states = []
    for chosen in (recipe(rho=0.01), Recipe("r", epochs=1)):
        rng = stream(0, "draws")
        InTurn([build(Dropping, channels=1, classes=3, size=8, rng=stream(0, "n"))], chosen).step(
            [batch()], [rng]
        )
        states.append(rng.get_state())
    assert torch.equal(*states)


def test_networks_keep_their_own_norms_in_company():
    def trained(seeds):
        networks = [build(CONVNET, channels=1, classes=3, size=8, rng=stream(s, "n")) for s in seeds]
        InTurn(networks, recipe(rho=1.0)).step([batch()] * len(seeds), [stream(s, "t") for s in seeds])
        return [n.classifier.weight for n in networks]

    together, alone = trained([0, 1])[1], trained([1])[0]
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("chosen", "kind"), [(recipe(rho=0.01), "InTurn"), (Recipe("r", epochs=1), "Stacked")]
)
def test_networks_that_cannot_share_an_optimiser_are_not_stacked(chosen, kind):
    with torch.device("meta"):  # a device that is no CPU
        networks = [ConvNet(channels=1, classes=3, size=8, depth=1, width=0.0625) for _ in range(2)]
        assert type(cohort(networks, chosen)).__name__ == kind
