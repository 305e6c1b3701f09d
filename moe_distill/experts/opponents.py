"""Baselines that store as many bytes as a mixture and are decoded like it."""

import functools

from moe_distill.experts.filling import MethodFactory
from moe_distill.experts.roster import ExpertSpec, Roster


def stored_alike(mixture: Roster, plain: MethodFactory, tiled: MethodFactory) -> Roster:
    """Return a roster of selected real images with the same bytes and decoding as a mixture.

    Args:
        mixture: The mixture to compare with.
        plain: Selects images and stores them unchanged; it stands for members without tiling.
        tiled: Selects images and stores them shrunk and tiled; it stands for the other members.

    Returns:
        One expert per tiling factor in the mixture, largest first, with the total ipc of its members.
    """
    ipc_by_factor: dict[int, int] = {}
    for member in mixture.members:
        factor = member.method().tiling.factor
        ipc_by_factor[factor] = ipc_by_factor.get(factor, 0) + member.ipc
    specs = []
    for factor in sorted(ipc_by_factor, reverse=True):
        tiled_by_factor = functools.partial(tiled.func, **{**tiled.keywords, "factor": factor})
        specs.append(ExpertSpec(plain if factor == 1 else tiled_by_factor, ipc_by_factor[factor]))
    return Roster(tuple(specs))
