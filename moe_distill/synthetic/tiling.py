"""Tiling: several small images in one stored image, and their decoding to full size."""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, IsFinite


@dataclass(frozen=True)
class Tiling:
    """Cut each stored image into ``factor x factor`` tiles, each enlarged to the full size.

    Factor 1 stores plain images. IDM's partition and expansion (Zhao et al. 2023, §3.2) is factor 2 with the
    tiles by column; IDC's multi-formation (Kim et al. 2022, §3.1) runs by row. Sides that the factor does not
    divide are padded at the right and bottom with ``fill``.

    Args:
        factor: Tiles per side, at least 1.
        by_column: Number the tiles column by column (top-left, bottom-left, …) instead of row by row.
        fill: Value of padded pixels, in the space the images are stored in.

    Example:
        >>> tiling = Tiling(factor=2)
        >>> tiling.per_image, tiling.corners(8), tiling.decode(torch.zeros(3, 1, 8, 8)).shape
        (4, [(0, 0), (0, 4), (4, 0), (4, 4)], torch.Size([12, 1, 8, 8]))
    """

    factor: Annotated[int, Ge(1)] = 1
    by_column: bool = False
    fill: IsFinite[float] = 0.0

    @property
    def per_image(self) -> int:
        """Decoded images per stored image."""
        return self.factor**2

    def side(self, size: int) -> int:
        """Return the side in pixels of a tile of an image of ``size`` pixels."""
        return -(-size // self.factor)  # rounded up

    def corners(self, size: int) -> list[tuple[int, int]]:
        """Return the top-left (row, column) of each tile, in storage order."""
        starts = [i * self.side(size) for i in range(self.factor)]
        if self.by_column:
            return [(row, column) for column in starts for row in starts]
        return [(row, column) for row in starts for column in starts]

    def decode(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the (N·factor², C, H, W) decoded images, tile by tile: the first tile of every image first.

        Linear and differentiable: bilinear enlargement with half-pixel centres.
        """
        if self.factor == 1:
            return images_NCHW
        size = images_NCHW.shape[-1]
        side = self.side(size)
        margin = side * self.factor - size
        padded = F.pad(images_NCHW, (0, margin, 0, margin), value=self.fill) if margin else images_NCHW
        tiles = torch.cat([padded[..., r : r + side, c : c + side] for r, c in self.corners(size)])
        return F.interpolate(tiles, size=(size, size), mode="bilinear", align_corners=False)

    def decode_every_factor(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the images decoded by every factor from 1 to this one (IDC's "multi" decode)."""
        return torch.cat([replace(self, factor=k).decode(images_NCHW) for k in range(1, self.factor + 1)])

    def decode_within(self, images_NCHW: torch.Tensor, limit: int) -> torch.Tensor:
        """Return at most ``limit`` decoded images, but one or more of each stored one (IDC's "bound" decode).

        As many images as possible are decoded by the full factor k, leaving room for one of each image that
        follows; then by k - 1, and so on.

        Args:
            images_NCHW: Stored images.
            limit: Largest number of decoded images.
        """
        decoded: list[torch.Tensor] = []
        remaining = images_NCHW
        for k in range(self.factor, 0, -1):
            room = limit - sum(map(len, decoded)) - len(remaining)
            # Factor 1 takes all that are left, also beyond the limit.
            count = len(remaining) if k == 1 else min(max(room // k**2, 0), len(remaining))
            if count:
                decoded.append(replace(self, factor=k).decode(remaining[:count]))
            remaining = remaining[count:]
        return torch.cat(decoded)

    def store(self, tiles_TNCHW: list[torch.Tensor]) -> torch.Tensor:
        """Return N stored images made of full-size ones, shrunk bilinearly.

        Args:
            tiles_TNCHW: A batch (N, C, H, W) for each tile, in storage order.
        """
        if self.factor == 1:
            return tiles_TNCHW[0]
        size = tiles_TNCHW[0].shape[-1]
        side = self.side(size)
        margin = side * self.factor - size
        canvas = torch.full_like(F.pad(tiles_TNCHW[0], (0, margin, 0, margin)), self.fill)
        for (row, column), tile in zip(self.corners(size), tiles_TNCHW, strict=True):
            small = F.interpolate(tile, size=(side, side), mode="bilinear", align_corners=False)
            canvas[..., row : row + side, column : column + side] = small
        return canvas[..., :size, :size].contiguous()  # without the margin, which decoding adds again
