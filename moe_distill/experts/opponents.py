"""What a mixture is compared with, made in its likeness."""

import functools

from moe_distill.experts.filling import MethodFactory
from moe_distill.experts.roster import ExpertSpec, Roster


def stored_alike(mixture: Roster, plain: MethodFactory, tiled: MethodFactory) -> Roster:
    """Return real images that take the bytes and the decode of a mixture's: its opponent before any
    distilling.

    Args:
        mixture: What they are compared with.
        plain: Selects images that are stored as they are, in the place of members that tile nothing.
        tiled: Selects images that are shrunk and tiled, by its ``factor``, in the place of the others.

    Returns:
        One expert for each factor of the mixture, with the images per class of all its members of that
        factor.
    """
    ipcs: dict[int, int] = {}
    for member in mixture.members:
        factor = member.method().tiling.factor
        ipcs[factor] = ipcs.get(factor, 0) + member.ipc
    settings = {factor: {**tiled.keywords, "factor": factor} for factor in sorted(ipcs, reverse=True)}
    methods = {
        f: plain if f == 1 else functools.partial(tiled.func, **given) for f, given in settings.items()
    }
    return Roster(tuple(ExpertSpec(method, ipcs[factor]) for factor, method in methods.items()))
