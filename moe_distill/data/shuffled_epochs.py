"""Batches of real images that walk through shuffled epochs, where a method's published code has them so."""

import torch

from moe_distill.seeding import draw_seed, stream


class ShuffledEpochs:
    """Deals rows epoch after epoch: none comes twice in an epoch, each of which is shuffled anew.

    Rows that would not fill an epoch's last batch are left out of that epoch.

    Source: the real batches of IDC (Kim et al., ICML 2022, published code).

    Example:
        >>> epochs, rng = ShuffledEpochs(), stream(0, "demo")
        >>> first, second = (epochs.next(torch.arange(5), 2, rng).tolist() for _ in range(2))
        >>> len({*first, *second})
        4
    """

    def __init__(self) -> None:
        self.seed: int | None = None
        self.dealt = 0
        self._order_N = torch.empty(0, dtype=torch.long)

    def next(self, rows_N: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return the next min(n, N) of the rows, int64; the same rows must be given in every call."""
        n = min(n, len(rows_N))
        if self.seed is None or self.dealt + n > len(rows_N):
            self.seed, self.dealt, self._order_N = draw_seed(rng), 0, self._order_N[:0]
        if len(self._order_N) < len(rows_N):
            self._order_N = torch.randperm(len(rows_N), generator=stream(self.seed, "epoch"))
        self.dealt += n
        return rows_N[self._order_N[self.dealt - n : self.dealt]]

    def state_dict(self) -> dict[str, int | None]:
        """Return the present epoch's seed and how many rows it has dealt."""
        return {"seed": self.seed, "dealt": self.dealt}

    def load_state_dict(self, state: dict[str, int | None]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.seed, self.dealt = state["seed"], state["dealt"] or 0
        self._order_N = self._order_N[:0]
