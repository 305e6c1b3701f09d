"""Choice of the rows of two experts' features that are compared."""

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
        """Return the features and labels at the given row indices."""
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

    Two synthetic sets have no natural pairing, so rows of a class are paired by position or at random. For a
    paired measure, the larger of two classes is subsampled without replacement (never tiled).

    Args:
        f: One expert's features.
        g: The other expert's features.
        paired: Whether the measure needs equal numbers of rows.
        pairing: How rows of a class are paired: by ``index`` or ``shuffled``.
        max_rows: Maximum rows per expert, divided evenly among the classes.
        rng: Draws subsamples and shuffles.

    Example:
        >>> from moe_distill.seeding import stream
        >>> f = Features(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        >>> g = Features(torch.zeros(2, 2), torch.tensor([1, 0]))
        >>> rows_f, rows_g = matched_rows(f, g, False, "index", 100, stream(0, "example"))
        >>> rows_f.tolist(), rows_g.tolist()
        ([0, 1, 2], [1, 0])
    """
    classes = f.labels_N.unique().tolist()
    rows_per_class = max(1, max_rows // len(classes))
    chosen_f, chosen_g = [], []
    for c in classes:
        # On the CPU, where the generator draws: the same rows on every device.
        rows_f, rows_g = (x.labels_N.eq(c).nonzero().squeeze(1).cpu() for x in (f, g))
        if paired:
            n = min(len(rows_f), len(rows_g), rows_per_class)
            rows_f, rows_g = _fewer(rows_f, n, rng), _fewer(rows_g, n, rng)
            if pairing == "shuffled":
                rows_g = rows_g[torch.randperm(n, generator=rng)]
        else:
            rows_f, rows_g = _fewer(rows_f, rows_per_class, rng), _fewer(rows_g, rows_per_class, rng)
        chosen_f.append(rows_f)
        chosen_g.append(rows_g)
    return torch.cat(chosen_f), torch.cat(chosen_g)


def _fewer(rows: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
    """Return at most ``n`` of the rows, in their order."""
    if len(rows) <= n:
        return rows  # nothing is drawn, so that sets that fit do not move the stream
    # Sorted, so that pairing by index keeps the order of the larger set.
    return rows[torch.randperm(len(rows), generator=rng)[:n].sort().values]


def scoped(measure: Measure, f: Features, g: Features, scope: str) -> torch.Tensor:
    """Apply a measure to all rows at once, class by class, or to rows without their class means.

    Args:
        measure: The measure.
        f: One expert's features.
        g: The other expert's features, rows matched to those of ``f``.
        scope: ``global`` (all rows), ``per_class`` (mean over classes) or ``class_centred`` (class means
            subtracted first).
    """
    classes = f.labels_N.unique().tolist()
    if scope == "per_class":
        by_class = [measure(f.features_ND[f.labels_N == c], g.features_ND[g.labels_N == c]) for c in classes]
        return torch.stack(by_class).mean()
    if scope == "class_centred":
        return measure(_centred(f, classes), _centred(g, classes))
    return measure(f.features_ND, g.features_ND)


def _centred(x: Features, classes: list[int]) -> torch.Tensor:
    """Return features minus the mean of their class; ``classes`` are sorted."""
    means_CD = torch.stack([x.features_ND[x.labels_N == c].mean(0) for c in classes])
    # A class number is no index: some classes may have no row.
    class_index_N = torch.searchsorted(torch.tensor(classes, device=x.labels_N.device), x.labels_N)
    return x.features_ND - means_CD[class_index_N]
