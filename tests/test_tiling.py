"""Storing several images in one, against loops and the published decode."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moe_distill.tiling import Tiling

GOLDEN = np.load(Path(__file__).parent / "golden" / "idm_dm.npz")


def enlarged(tile: np.ndarray, size: int) -> np.ndarray:
    """Bilinear enlargement with half-pixel centres, pixel by pixel."""
    side = tile.shape[0]
    out = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            y, x = ((k + 0.5) * side / size - 0.5 for k in (i, j))
            y, x = min(max(y, 0), side - 1), min(max(x, 0), side - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, side - 1), min(x0 + 1, side - 1)
            a, b = y - y0, x - x0
            out[i, j] = (1 - a) * ((1 - b) * tile[y0, x0] + b * tile[y0, x1]) + a * (
                (1 - b) * tile[y1, x0] + b * tile[y1, x1]
            )
    return out


def test_idm_decode_is_the_published_one():
    stored = torch.from_numpy(GOLDEN["idm_stored"])
    decoded = Tiling(2, by_column=True).decode(stored)
    torch.testing.assert_close(decoded, torch.from_numpy(GOLDEN["idm_decoded"]), rtol=0, atol=3e-5)
    labels = torch.tensor([3, 4]).repeat(Tiling(2).per_image)
    assert labels.tolist() == GOLDEN["idm_decoded_labels"].tolist()


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize(("factor", "size"), [(1, 8), (2, 8), (2, 9), (3, 8), (3, 32)])
def test_decode_against_loops(factor: int, size: int, by_column: bool):
    stored = torch.randn(2, 3, size, size, dtype=torch.float64)
    tiling = Tiling(factor, by_column, fill=0.5)
    side = -(-size // factor)
    padded = np.full((2, 3, side * factor, side * factor), 0.5)
    padded[..., :size, :size] = stored.numpy()
    expected = []
    for first in range(factor):
        for second in range(factor):
            row, column = (second, first) if by_column else (first, second)
            for n in range(2):
                tile = padded[n, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
                expected.append(np.stack([enlarged(c, size) if factor > 1 else c for c in tile]))
    np.testing.assert_allclose(tiling.decode(stored).numpy(), np.stack(expected), atol=1e-12)


def test_decode_is_linear_in_the_stored_pixels():
    stored = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Tiling(2, by_column=True).decode, (stored,))


def test_store_shrinks_by_averaging_for_an_exact_factor():
    tiles = [torch.randn(2, 3, 8, 8) for _ in range(4)]
    stored = Tiling(2, by_column=True).store(tiles)
    for (row, column), tile in zip([(0, 0), (4, 0), (0, 4), (4, 4)], tiles, strict=True):
        torch.testing.assert_close(stored[..., row : row + 4, column : column + 4], F.avg_pool2d(tile, 2))


@pytest.mark.parametrize("size", [7, 8, 9, 12])
def test_stored_tiles_come_back_where_they_were_put(size: int):
    tiling = Tiling(2)
    tiles = [torch.full((1, 1, size, size), float(k)) for k in range(4)]
    decoded = tiling.decode(tiling.store(tiles))
    assert tiling.store(tiles).shape == (1, 1, size, size)
    assert [round(float(image.flatten()[0])) for image in decoded] == [0, 1, 2, 3]
