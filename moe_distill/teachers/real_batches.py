"""Real batches that represent a class in the eyes of the network under which images are matched.

Source: DREAM (Liu et al., "DREAM: Efficient Dataset Distillation by Representative Matching", ICCV 2023).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.data.selection import representatives
from moe_distill.models.base import Network
from moe_distill.store.identity import called
from moe_distill.validation.values import Count, checked

_CHUNK = 512  # images in one pass through the network, to bound memory


@called("kmeans")
@checked
@dataclass(frozen=True)
class RepresentativeSampling:
    """Takes as real batch of a class the images nearest to the centres of its k-means clusters.

    There are as many clusters as the batch has images, of the features of all images that the expert sees of
    the class; a class with fewer images gives all of them. The published code clusters features of pixels
    that were not standardised; here they are those that the network sees in matching.

    Args:
        interval: Batches of a class that are the same images, before these are chosen anew (published: 10).
    """

    interval: Count = 10

    def forward_passes(self, images: int, batches: int) -> float:
        """Return the images that an iteration sends through networks to choose its batches.

        Args:
            images: All images that the expert sees.
            batches: Batches of each class in an iteration.
        """
        return images * batches / self.interval


class ChosenBatchesState(TypedDict):
    """State of :class:`ChosenBatches`, by class: places in the class, and how often these were returned."""

    places: dict[int, torch.Tensor]
    taken: dict[int, int]


class ChosenBatches:
    """The batches of one expert.

    Args:
        sampling: How they are chosen.
    """

    def __init__(self, sampling: RepresentativeSampling) -> None:
        self.sampling = sampling
        self._places: dict[int, torch.Tensor] = {}
        self._taken: dict[int, int] = {}

    def rows(self, real: RealSet, c: int, n: int, network: Network, rng: torch.Generator) -> torch.Tensor:
        """Return min(n, images of class c) indices of images of a class, int64, on the CPU.

        Args:
            real: The expert's real data.
            c: The class.
            n: Images in the batch; the same in every call.
            network: What images are matched under now, in any mode; it is left as it is.
            rng: Drawn from where images are chosen anew.
        """
        rows_N = real.class_indices(c)
        taken = self._taken.get(c, 0)
        if taken % self.sampling.interval == 0:
            with torch.no_grad(), _evaluating(network):
                f_ND = torch.cat([network.embed(real.at(chunk)[0]) for chunk in rows_N.split(_CHUNK)])
            self._places[c] = representatives(f_ND, n, rng)
        self._taken[c] = taken + 1
        return rows_N[self._places[c]]

    def state_dict(self) -> ChosenBatchesState:
        """Return the images in use, which no network of a later iteration would choose again."""
        return {"places": dict(self._places), "taken": dict(self._taken)}

    def load_state_dict(self, state: ChosenBatchesState) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._places, self._taken = dict(state["places"]), dict(state["taken"])


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    """Put a network into evaluation mode inside the block, so that its running statistics stay."""
    # Module by module: a method may have put some of them into evaluation mode.
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
