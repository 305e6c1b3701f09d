"""Which rows of two experts' features are compared."""

from dataclasses import dataclass
from typing import Literal

import torch

from moe_distill.diversity.measures import Measure


@dataclass(frozen=True)
class Features:
    """Features of an expert's decoded images (N, D) with their labels (N,)."""

    features_ND: torch.Tensor
    labels_N: torch.Tensor

    def take(self, rows: torch.Tensor) -> "Features":
        """Return the given rows."""
        rows = rows.to(self.labels_N.device)
        return Features(self.features_ND[rows], self.labels_N[rows])


def matched_rows(
    f: Features,
    g: Features,
    paired: bool,
    pairing: Literal["index", "shuffled"],
    max_rows: int,
    rng: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return row indices into ``f`` and ``g``, class by class.

    Two synthetic sets have no natural pairing; rows of one class are matched by their place in it, or at
    random. Where a paired measure meets classes of different size, the larger is subsampled without
    replacement (never tiled).

    Args:
        f: One expert's features; ``g`` the other's.
        g: See ``f``.
        paired: Whether the measure needs equal numbers of rows.
        pairing: ``index`` or ``shuffled``.
        max_rows: Rows per expert at most, shared out evenly over the classes.
        rng: Draws subsamples and shuffles.
    """
    classes = f.labels_N.unique().tolist()
    room = max(1, max_rows // len(classes))
    chosen_f, chosen_g = [], []
    for c in classes:
        rows_f, rows_g = (x.labels_N.eq(c).nonzero().squeeze(1).cpu() for x in (f, g))
        if paired:
            n = min(len(rows_f), len(rows_g), room)
            rows_f, rows_g = _fewer(rows_f, n, rng), _fewer(rows_g, n, rng)
            if pairing == "shuffled":
                rows_g = rows_g[torch.randperm(n, generator=rng)]
        else:
            rows_f, rows_g = _fewer(rows_f, room, rng), _fewer(rows_g, room, rng)
        chosen_f.append(rows_f)
        chosen_g.append(rows_g)
    return torch.cat(chosen_f), torch.cat(chosen_g)


def _fewer(rows: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
    if len(rows) <= n:
        return rows
    return rows[torch.randperm(len(rows), generator=rng)[:n].sort().values]


def scoped(measure: Measure, f: Features, g: Features, scope: str) -> torch.Tensor:
    """Apply a measure to all rows, to each class (mean over classes), or to rows less their class means."""
    classes = f.labels_N.unique().tolist()
    if scope == "per_class":
        return torch.stack(
            [measure(*(x.features_ND[x.labels_N == c] for x in (f, g))) for c in classes]
        ).mean()
    if scope == "class_centred":
        return measure(_centred(f, classes), _centred(g, classes))
    return measure(f.features_ND, g.features_ND)


def _centred(x: Features, classes: list[int]) -> torch.Tensor:
    means_CD = torch.stack([x.features_ND[x.labels_N == c].mean(0) for c in classes])
    place = torch.searchsorted(torch.tensor(classes, device=x.labels_N.device), x.labels_N)
    return x.features_ND - means_CD[place]
