"""Named streams, the global generator, and Beta draws against their known moments."""

import itertools

import numpy as np
import pytest
import torch

from moe_distill.seeding import beta, draw_seed, global_seed, stream


def draws(*names, n=200):
    return torch.rand(n, generator=stream(*names), dtype=torch.float64)


def test_equal_names_draw_equally():
    assert torch.equal(draws(3, "expert", 1), draws(3, "expert", 1))


def test_any_other_name_draws_independently():
    names = [
        (0,),
        (1,),
        (0, "a"),
        (1, "a"),
        (0, "b"),
        (0, "a", 0),
        (0, "a", 1),
        (0, "a", "b"),
        (0, "b", "a"),
        (-1,),
    ]
    for one, other in itertools.combinations([draws(*n) for n in names], 2):
        assert abs(float(np.corrcoef(one, other)[0, 1])) < 0.35  # five standard errors at n = 200
        assert not set(one.tolist()) & set(other.tolist())


def test_a_seed_is_taken_from_the_hash_of_the_names():
    # the first eight bytes of `printf 0/demo | sha256sum`, little-endian, without the top bit
    assert (
        stream(0, "demo").initial_seed()
        == int.from_bytes(bytes.fromhex("2b65a5db6d2e7120"), "little") % 2**63
    )


def test_large_and_negative_seeds_are_taken():
    for seed in (-5, 0, 2**63, 2**200):
        assert 0 <= draw_seed(stream(seed, "x")) < 2**62


def test_global_seed_acts_inside_the_block_only():
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    with global_seed(stream(0, "net")):
        inside = torch.rand(5)
    assert torch.equal(torch.rand(3), want)
    torch.manual_seed(99)
    with global_seed(stream(0, "net")):
        assert torch.equal(torch.rand(5), inside)


def test_global_seed_gives_the_generator_back_after_an_error():
    torch.manual_seed(7)
    want = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), global_seed(stream(0, "net")):
        torch.rand(1)
        _ = 1 / 0
    assert torch.equal(torch.get_rng_state(), want)


def test_global_seed_advances_the_stream_so_that_blocks_differ():
    rng, seen = stream(0, "net"), []
    for _ in range(2):
        with global_seed(rng):
            seen.append(torch.rand(5))
    assert not torch.equal(*seen)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_beta_has_the_mean_and_variance_of_its_law(alpha):
    n = 20000
    x = beta(alpha, n, stream(0, "beta")).double()
    assert x.shape == (n,) and x.min() >= 0 and x.max() <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    assert float(x.mean()) == pytest.approx(0.5, abs=5 * (variance / n) ** 0.5)
    assert float(x.var()) == pytest.approx(variance, rel=0.05)


def test_beta_with_alpha_one_is_uniform():
    quantiles = torch.quantile(beta(1.0, 20000, stream(1, "beta")), torch.linspace(0.1, 0.9, 9))
    torch.testing.assert_close(quantiles, torch.linspace(0.1, 0.9, 9), rtol=0, atol=0.02)


def test_beta_goes_to_the_ends_for_small_alpha_and_to_the_middle_for_large():
    small, large = beta(1e-3, 2000, stream(2, "beta")), beta(1e5, 2000, stream(2, "beta"))
    assert ((small < 0.01) | (small > 0.99)).float().mean() > 0.97
    assert 0.4 < (small > 0.5).float().mean() < 0.6
    assert (large - 0.5).abs().max() < 0.01


def test_beta_is_float32_and_drawn_from_its_stream_alone():
    first = beta(0.5, 8, stream(3, "beta"))
    np.random.seed(0)
    torch.manual_seed(0)
    assert torch.equal(first, beta(0.5, 8, stream(3, "beta"))) and first.dtype == torch.float32
    assert not torch.equal(first, beta(0.5, 8, stream(4, "beta")))
