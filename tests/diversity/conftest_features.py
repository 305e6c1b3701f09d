"""Features in double precision, as oracles take them."""

from moe_distill.testing.measures import features as randn

__all__ = ["dependent", "randn"]


def dependent(n=14, p=3, q=5):
    x = randn(n, p)
    return x, 0.7 * x @ randn(p, q, name="map") + 0.5 * randn(n, q, name="noise")
