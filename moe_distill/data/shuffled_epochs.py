"""Batches of real images from shuffled epochs, for methods whose published code draws them this way."""

import torch

from moe_distill.seeding import draw_seed, stream


class ShuffledEpochs:
    """Returns rows epoch by epoch: each epoch is shuffled anew, and no row comes twice in it.

    Rows that do not fill an epoch's last batch are left out of that epoch.

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
        """Return the next min(n, N) of the rows, int64.

        Args:
            rows_N: The rows of the data set to draw from; the same in every call.
            n: Number of rows.
            rng: Seeds each new epoch.
        """
        n = min(n, len(rows_N))
        if self.seed is None or self.dealt + n > len(rows_N):
            self.seed = draw_seed(rng)
            self.dealt = 0
            self._order_N = self._order_N[:0]
        # The state holds no order: after a resume it is drawn again from the seed.
        if len(self._order_N) < len(rows_N):
            self._order_N = torch.randperm(len(rows_N), generator=stream(self.seed, "epoch"))
        self.dealt += n
        return rows_N[self._order_N[self.dealt - n : self.dealt]]

    def state_dict(self) -> dict[str, int | None]:
        """Return the current epoch's seed and the number of rows it has returned so far."""
        return {"seed": self.seed, "dealt": self.dealt}

    def load_state_dict(self, state: dict[str, int | None]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        self.seed, self.dealt = state["seed"], state["dealt"] or 0
        self._order_N = self._order_N[:0]
