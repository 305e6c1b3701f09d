"""Every source of randomness: named CPU generators derived from one seed.

Generators live on the CPU whatever the device of the tensors, so that a run draws the same numbers
everywhere.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Return the generator of one purpose: equal (seed, names) give equal draws, any other pair independent
    ones.

    Args:
        seed: The run's seed.
        names: The purpose, from general to particular, such as ``("expert", 3, "real")``.

    Example:
        >>> int(torch.randint(100, (1,), generator=stream(0, "demo"))) == int(
        ...     torch.randint(100, (1,), generator=stream(0, "demo")))
        True
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % (1 << 63))


def draw_seed(rng: torch.Generator) -> int:
    """Draw a seed for a library that takes no generator."""
    return int(torch.randint(1 << 62, (1,), generator=rng))


@contextmanager
def global_seed(rng: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator inside the block only (default initialisation and dropout know no
    other).
    """
    seed = draw_seed(rng)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def beta(alpha: float, n: int, rng: torch.Generator) -> torch.Tensor:
    """Draw ``n`` values of Beta(alpha, alpha), float32 of shape (n,)."""
    draws = np.random.default_rng(draw_seed(rng)).beta(alpha, alpha, size=n)
    return torch.from_numpy(draws).float()
