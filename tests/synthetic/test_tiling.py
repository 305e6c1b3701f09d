"""Storing several images in one, against loops and the published decode."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moe_distill.synthetic.tiling import Tiling

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "idm_dm.npz")
IDC = np.load(Path(__file__).parents[1] / "golden" / "idc.npz")


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


def test_idc_decode_and_its_gradient_are_the_published_ones():
    stored = torch.from_numpy(IDC["dec.in32"]).requires_grad_()
    decoded = Tiling(2, fill=0.5).decode(stored)
    decoded.backward(torch.from_numpy(IDC["dec.f2.single.cotangent"]))
    np.testing.assert_allclose(decoded.detach().numpy(), IDC["dec.f2.single.out"], atol=1e-5)
    np.testing.assert_allclose(stored.grad.numpy(), IDC["dec.f2.single.grad_in"], atol=1e-4)
    labels = torch.from_numpy(IDC["dec.labels"]).repeat(Tiling(2).per_image)
    assert labels.tolist() == IDC["dec.f2.single.lab"].tolist()


def cells(image: torch.Tensor, k: int) -> list[np.ndarray]:
    """The decode of one image by factor k, for sides that k divides."""
    side = image.shape[-1] // k
    tiles = [
        image[:, i * side : (i + 1) * side, j * side : (j + 1) * side] for i in range(k) for j in range(k)
    ]
    return [np.stack([enlarged(c, image.shape[-1]) for c in tile.numpy()]) for tile in tiles]


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_every_factor_is_decoded_in_turn(factor: int):
    stored = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    expected = []
    for k in range(1, factor + 1):
        first, second = cells(stored[0], k), cells(stored[1], k)
        expected += [x for pair in zip(first, second, strict=True) for x in pair]
    decoded = Tiling(factor).decode_every_factor(stored)
    np.testing.assert_allclose(decoded.numpy(), np.stack(expected), atol=1e-12)


@pytest.mark.parametrize(
    ("n", "limit", "factors"),
    [
        (4, 128, [3, 3, 3, 3]),
        (4, 20, [3, 2, 2, 1]),  # room 16: one image of 9 cells; then room 8: two of 4; one is left
        (4, 17, [3, 2, 1, 1]),
        (4, 12, [2, 2, 1, 1]),
        (4, 7, [1, 1, 1, 1]),
        (4, 2, [1, 1, 1, 1]),
    ],
)
def test_bound_decodes_as_finely_as_there_is_room(n: int, limit: int, factors: list[int]):
    stored = torch.randn(n, 1, 12, 12, dtype=torch.float64)
    expected = []
    for k in (3, 2, 1):
        parts = [cells(image, k) for image, own in zip(stored, factors, strict=True) if own == k]
        expected += [x for cell in zip(*parts, strict=True) for x in cell]
    decoded = Tiling(3).decode_within(stored, limit)
    np.testing.assert_allclose(decoded.numpy(), np.stack(expected), atol=1e-12)
    assert len(decoded) <= max(limit, n)
