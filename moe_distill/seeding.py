"""Every source of randomness: named CPU generators derived from one seed.

Generators live on the CPU whatever the device of the tensors, so that a run draws the same numbers
everywhere; :func:`on_device` is for numbers of which there are too many for that.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Return the random generator of one purpose.

    Equal seed and names give equal draws; any other combination gives independent draws.

    Args:
        seed: The run's seed.
        names: The purpose, from general to particular, such as ``("expert", 3, "real")``.

    Example:
        >>> first, again = stream(0, "expert", 3), stream(0, "expert", 3)
        >>> torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=again))
        True
    """
    # A hash, as arithmetic on seeds (seed + 1) would make neighbouring purposes share their draws.
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % (1 << 63))


def draw_seed(rng: torch.Generator) -> int:
    """Draw a seed for a library that takes no generator."""
    return int(torch.randint(1 << 62, (1,), generator=rng))


def on_device(rng: torch.Generator, device: torch.device) -> torch.Generator:
    """Return a generator on a device, seeded by a draw from ``rng``, which lives on the CPU.

    For many numbers at once: on a GPU, drawing millions on the CPU takes longer than what is done with them.
    The numbers of one state of ``rng`` differ between a CPU and a GPU.

    Example:
        >>> torch.rand(2, generator=on_device(stream(0, "demo"), torch.device("cpu"))).shape
        torch.Size([2])
    """
    return torch.Generator(device).manual_seed(draw_seed(rng))


@contextmanager
def global_seed(rng: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator inside the block, and restore its state after it."""
    # Default initialisation and dropout take no generator: only the global one reaches them.
    seed = draw_seed(rng)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def beta(alpha: float, n: int, rng: torch.Generator) -> torch.Tensor:
    """Draw ``n`` values of Beta(alpha, alpha), float32 of shape (n,).

    Example:
        >>> beta(1.0, 3, stream(0, "mixup")).shape
        torch.Size([3])
    """
    # By numpy, as torch.distributions takes no generator.
    draws = np.random.default_rng(draw_seed(rng)).beta(alpha, alpha, size=n)
    return torch.from_numpy(draws).float()
