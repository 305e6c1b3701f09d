"""Characteristic functions against the arrays of NCFM's program and complex exponentials, and the learned
sampler of their frequencies."""

import cmath
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from moe_distill.methods.matching.characteristic import characteristic_distance, unit_rows
from moe_distill.methods.matching.frequencies import Draws, LearnedFrequencies, ScaleNetwork, normal
from moe_distill.seeding import stream

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "ncfm.npz")
WEIGHTS = GOLDEN["cf.alpha_beta"]
# Where real and synthetic features are the same, the arrays hold the first three weights alone.
ROWS = [("small", row) for row in range(7)] + [("same", row) for row in range(3)]


def array(key):
    return torch.from_numpy(GOLDEN[key]).double()


def features(case):
    return (array(f"cf.{case}.{name}") for name in ("feat_real", "feat_syn", "t"))


def naive_distance(real, synthetic, frequencies, amplitude, phase):
    """The distance by complex exponentials, one image and one frequency after the other."""
    total = 0.0
    for t in frequencies:
        big, small = (
            sum(cmath.exp(1j * sum(a * b for a, b in zip(t, row, strict=True))) for row in rows) / len(rows)
            for rows in (real, synthetic)
        )
        apart = 1 - math.cos(cmath.phase(big) - cmath.phase(small))
        square = (abs(big) - abs(small)) ** 2 * amplitude + 2 * abs(big) * abs(small) * apart * phase
        total += math.sqrt(square)
    return total / len(frequencies)


@pytest.mark.parametrize(("case", "row"), ROWS)
@pytest.mark.parametrize(("name", "factor"), [("loss", 1.0), ("match300", 300.0)])
def test_distance_and_gradient_are_the_published_ones(case, row, name, factor):
    real, synthetic, t = features(case)
    synthetic.requires_grad_()
    both = (real, synthetic) if name == "loss" else (unit_rows(real), unit_rows(synthetic))
    loss = factor * characteristic_distance(*both, t, *WEIGHTS[row])
    (gradient,) = torch.autograd.grad(loss, synthetic)
    np.testing.assert_allclose(loss.item(), GOLDEN[f"cf.{case}.{name}_f64"][row], rtol=1e-8, atol=1e-9)
    gradients = "grad_syn_f64" if name == "loss" else "match300_grad_syn_f64"
    golden = GOLDEN[f"cf.{case}.{gradients}"][row]
    if np.isnan(golden).any():
        # The published gradient is NaN where nothing but amplitudes counts and they are equal.
        assert (case, row) == ("same", 1)
        golden = np.zeros_like(golden)
    np.testing.assert_allclose(gradient.numpy(), golden, rtol=1e-8, atol=1e-9 * max(1, np.abs(golden).max()))


@pytest.mark.parametrize("row", range(7))
def test_distance_is_that_of_complex_exponentials(row):
    real, synthetic, t = features("small")
    ours = characteristic_distance(real, synthetic, t, *WEIGHTS[row]).item()
    naive = naive_distance(real.tolist(), synthetic.tolist(), t.tolist(), *WEIGHTS[row].tolist())
    assert ours == pytest.approx(naive, rel=1e-9)
    # Which of the two sets is real makes no difference.
    swapped = characteristic_distance(synthetic, real, t, *WEIGHTS[row])
    assert swapped.item() == pytest.approx(ours, rel=1e-12)


def test_equal_weights_give_the_modulus_of_the_difference():
    real, synthetic, t = features("small")
    functions = [torch.exp(1j * (f @ t.T)).mean(0) for f in (real, synthetic)]
    modulus = (functions[0] - functions[1]).abs().mean().item()
    assert characteristic_distance(real, synthetic, t, 0.5, 0.5).item() == pytest.approx(
        math.sqrt(0.5) * modulus
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_equal_features_and_functions_of_zero_have_finite_gradients(dtype, weights):
    real = torch.randn(6, 16, generator=stream(0, "features"), dtype=dtype)
    # At frequency π/2 the function of 0 and 2 is zero: its modulus has no gradient there.
    for fixed, moved, t in (
        (real, real.clone(), real),
        (
            real[:, :1],
            torch.tensor([[0.0], [2.0]], dtype=dtype),
            torch.full((1, 1), math.pi / 2, dtype=dtype),
        ),
    ):
        moved.requires_grad_()
        loss = characteristic_distance(fixed, moved, t, *weights)
        loss.backward()
        assert torch.isfinite(moved.grad).all() and loss.isfinite()


def test_real_features_get_no_gradient():
    real, synthetic, t = features("small")
    real.requires_grad_(), synthetic.requires_grad_()
    characteristic_distance(real, synthetic, t, 0.5, 0.5).backward()
    assert real.grad is None and synthetic.grad.abs().min() > 0


def golden_scales():
    network = ScaleNetwork(16).double()
    names = [
        f"{part}{n}.{which}" for n in (1, 2, 3) for part in ("lin", "bn") for which in ("weight", "bias")
    ]
    parts = [array(f"psi.before.{name}") for name in names]
    assert len(parts) == len(network.state_dict())
    network.load_state_dict(dict(zip(network.state_dict(), parts, strict=True)))
    return network


def test_scales_are_those_of_the_published_network():
    scales = golden_scales()(array("psi.noise"))
    # The published frequencies are the scales themselves, repeated.
    published = scales.repeat(16, 1)
    np.testing.assert_allclose(published.detach().numpy(), GOLDEN["psi.t_train"], atol=1e-6)
    synthetic = array("psi.feat_syn").requires_grad_()
    both = unit_rows(array("psi.feat_real")), unit_rows(synthetic)
    loss = 300 * characteristic_distance(*both, published.detach(), 0.5, 0.5)
    assert loss.item() == pytest.approx(float(GOLDEN["psi.loss300"]), rel=1e-6)
    (gradient,) = torch.autograd.grad(-loss, synthetic)
    golden = GOLDEN["psi.grad_syn_of_minus_loss"]
    np.testing.assert_allclose(gradient.numpy(), golden, atol=1e-6 * np.abs(golden).max())


def drawn(seed):
    rng, like = stream(seed, "draws"), array("psi.feat_real")
    return Draws(normal(4, like, rng), normal(64, like, rng))


def test_frequencies_are_normal_ones_times_the_scales_of_their_row():
    sampler = LearnedFrequencies(16, array("psi.noise"), stream(0, "sampler"))
    draws = drawn(0)
    scales = sampler.network(draws.noise_RD)
    for row, frequency in enumerate(sampler.frequencies(draws)):
        torch.testing.assert_close(frequency, scales[row // 16] * draws.normal_KD[row])


def test_a_step_of_the_sampler_is_an_ascent_by_sgd():
    sampler = LearnedFrequencies(16, array("psi.noise"), stream(0, "sampler"))
    distance = partial(characteristic_distance, array("psi.feat_real"), array("psi.feat_syn"))
    distance = partial(distance, amplitude=0.5, phase=0.5)
    momenta = [torch.zeros_like(p) for p in sampler.network.parameters()]
    for step in range(3):
        weights = [p.detach().clone() for p in sampler.network.parameters()]
        before = distance(sampler.frequencies(drawn(step)))
        gradients = torch.autograd.grad(before, [*sampler.network.parameters()])
        after = distance(sampler.ascend(distance, drawn(step)))
        assert after > before
        momenta = [0.5 * m + g for m, g in zip(momenta, gradients, strict=True)]
        for p, start, momentum in zip(sampler.network.parameters(), weights, momenta, strict=True):
            torch.testing.assert_close(p.detach(), start + 1e-3 * momentum)


def test_gaussian_frequencies_are_standard_normal_and_a_function_of_the_stream():
    like = torch.zeros(1, 500)
    first, again = (normal(400, like, stream(0, "t")) for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, normal(400, like, stream(1, "t")))
    # 200 000 numbers: standard errors of 1/√n and √(2/n) for mean and variance.
    assert abs(float(first.mean())) < 4 / math.sqrt(first.numel())
    assert abs(float(first.var()) - 1) < 4 * math.sqrt(2 / first.numel())
