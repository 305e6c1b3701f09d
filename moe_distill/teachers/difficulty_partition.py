"""A partition of the data by difficulty, and its control with parts of equal difficulty."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from moe_distill.data.difficulty import Score
from moe_distill.data.partition.split import Features, Needs, Parts, check_room
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.teachers.recorded_networks import RecordedNetworks
from moe_distill.validation.values import Share, checked


@checked
@dataclass(frozen=True)
class Difficulty:
    """Each class is ordered by difficulty and split into parts that differ by at most one image.

    Args:
        score: Score of difficulty (`moe_distill.data.difficulty`).
        pool: Networks trained on all real data, whose predictions after each epoch are scored.
        deal: ``sorted`` cuts the order into runs, of which expert 0 has the easiest; ``dealt`` deals it out
            like cards, so that all parts are equally difficult: a control that differs from ``stratified`` in
            chance alone.
        share: Share of each part that stays where it was dealt; the rest of all parts is shuffled and dealt
            out again. 0 is a random partition.

    Source: the groups of PSM (arXiv 2026), which are sorted by another score.
    """

    needs: ClassVar[Needs] = "scores"
    score: Score
    pool: RecordedNetworks
    deal: Literal["sorted", "dealt"] = "sorted"
    share: Share = 1.0

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Args:
            real: The training images.
            k: Number of experts.
            rng: Draws what is dealt or shuffled; a CPU generator.
            features: Computes the scores, of shape (N,).

        Raises:
            InputError: If a class has fewer than k images, or there are no scores.
        """
        check_room(real, k)
        if features is None:
            raise InputError("partition", "difficulty", "a partition that needs no networks, without any")
        scores_N = features(real)
        part_N = torch.empty(len(real), dtype=torch.int64)
        for c in range(len(real.classes)):
            rows_M = real.class_indices(c)
            # Stable: of equal scores the first image counts as the easiest, on every machine.
            order_M = rows_M[scores_N[rows_M].argsort(stable=True)]
            places = runs(len(rows_M), k) if self.deal == "sorted" else hands(len(rows_M), k, rng)
            part_N[order_M] = reshuffled(places, self.share, rng)
        return [(part_N == part).nonzero().flatten() for part in range(k)]


def runs(count: int, k: int) -> torch.Tensor:
    """Return the part of each of ``count`` places, cut into k runs.

    Example:
        >>> runs(5, 2).tolist()
        [0, 0, 0, 1, 1]
    """
    return torch.arange(count) * k // count


def hands(count: int, k: int, rng: torch.Generator) -> torch.Tensor:
    """Return the part of each of ``count`` places, dealt to k parts in a random order, then back.

    So all parts have the same sum of places after every round of 2k. The last round may be incomplete; it is
    moved to the middle, where one place more hardly changes a part's mean.

    Args:
        count: Number of places.
        k: Number of parts.
        rng: Draws the order of each round.

    Example:
        >>> part_N = hands(8, 2, torch.Generator())
        >>> [int((part_N == part).nonzero().sum()) for part in range(2)]
        [14, 14]
    """
    rounds, spare = divmod(count, 2 * k)
    forth = torch.stack([torch.randperm(k, generator=rng) for _ in range(rounds + 1)])
    dealt = torch.cat([forth, forth.flip(1)], 1)
    middle = rounds // 2
    return torch.cat([dealt[:middle].flatten(), dealt[middle, :spare], dealt[middle + 1 :].flatten()])


def reshuffled(part_N: torch.Tensor, share: float, rng: torch.Generator) -> torch.Tensor:
    """Return the parts of N places after a random share of each part stayed and the rest were shuffled.

    Args:
        part_N: The part of each place.
        share: Share that stays.
        rng: Draws which stay, and the shuffle.
    """
    moves = []
    for part in part_N.unique():
        places = (part_N == part).nonzero().flatten()
        moves.append(places[torch.randperm(len(places), generator=rng)[round(share * len(places)) :]])
    moved = torch.cat(moves)
    shuffled = part_N.clone()
    shuffled[moved] = part_N[moved[torch.randperm(len(moved), generator=rng)]]
    return shuffled
