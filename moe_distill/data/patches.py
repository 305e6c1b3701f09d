"""Pieces of real images: cut at random, ranked by a teacher, put together, kept in eight bits.

Sun, Shi, Yu and Lin, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm",
CVPR 2024 (RDED), section 4. Which pieces are cut is drawn first; the rest are pure functions of images and draws.
"""

import io
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

AREA = (0.08, 1.0)


class Crops(NamedTuple):
    """Squares to cut out: M of each of N images, in pixels, int64 of shape (N, M)."""

    top_NM: Tensor
    left_NM: Tensor
    side_NM: Tensor


def draw_crops(rng: torch.Generator, images: int, crops: int, size: int) -> Crops:
    """Draw squares whose area is uniform in [0.08, 1] of the image's and whose place is uniform inside it.

    Args:
        rng: A CPU generator.
        images: N.
        crops: M, of each image.
        size: The images' side in pixels.
    """
    u_3NM = torch.rand(3, images, crops, generator=rng, dtype=torch.float64)
    area_NM = AREA[0] + (AREA[1] - AREA[0]) * u_3NM[0]
    side_NM = (size * area_NM.sqrt()).round().long().clamp(1, size)
    top_NM, left_NM = ((u_NM * (size - side_NM + 1)).long() for u_NM in u_3NM[1:])
    return Crops(top_NM, left_NM, side_NM)


def cut(x_NCHW: Tensor, crops: Crops, size: int) -> Tensor:
    """Return the squares, resized (bilinear, with antialias) to ``size`` pixels a side: (N, M, C, size, size)."""
    n, m = crops.side_NM.shape
    image_P = torch.arange(n, device=x_NCHW.device).repeat_interleave(m)
    top_P, left_P, side_P = (drawn.flatten().to(x_NCHW.device) for drawn in crops)
    cut_PCHW = x_NCHW.new_empty(n * m, x_NCHW.shape[1], size, size)
    for side in crops.side_NM.unique().tolist():  # squares of one side are resized together
        rows_Q = (side_P == side).nonzero().squeeze(1)
        line_S = torch.arange(side, device=x_NCHW.device)
        row_QS1 = (top_P[rows_Q, None] + line_S)[..., None]
        column_Q1S = (left_P[rows_Q, None] + line_S)[:, None]
        window_QSSC = x_NCHW.permute(0, 2, 3, 1)[image_P[rows_Q, None, None], row_QS1, column_Q1S]
        window_QCSS = window_QSSC.permute(0, 3, 1, 2)
        cut_PCHW[rows_Q] = F.interpolate(window_QCSS, (size, size), mode="bilinear", antialias=True)
    return cut_PCHW.unflatten(0, (n, m))


def framed(x_NCHW: Tensor, size: int) -> Tensor:
    """Return images in the middle of zeros, ``size`` pixels a side; an odd line is added below and on the right."""
    before, after = (size - x_NCHW.shape[-1]) // 2, (size - x_NCHW.shape[-1] + 1) // 2
    return F.pad(x_NCHW, (before, after, before, after))


def easiest(loss_NM: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Return image and crop, (keep,) each, of the lowest losses, lowest first; one crop an image, of equals the first.

    Args:
        loss_NM: Loss of each crop of each image; the lower, the more realistic.
        keep: How many; at most N.
    """
    crop_N = loss_NM.argsort(dim=1, stable=True)[:, 0]
    image_K = loss_NM.gather(1, crop_N[:, None]).squeeze(1).argsort(stable=True)[:keep]
    return image_K, crop_N[image_K]


def stitched(x_KCHW: Tensor, factor: int, size: int) -> Tensor:
    """Compose n = K / factor² images of ``size`` pixels a side, each of ``factor`` × ``factor`` given ones.

    Given image k·n + j becomes cell k, counted row by row, of composed image j, shrunk or enlarged by taking nearest
    pixels. Of a side that ``factor`` does not divide, the first cells are a pixel longer.
    """
    sides = [size // factor + (i < size % factor) for i in range(factor)]
    cells = iter(x_KCHW.split(len(x_KCHW) // factor**2))
    rows = [torch.cat([F.interpolate(next(cells), (h, w)) for w in sides], dim=-1) for h in sides]
    return torch.cat(rows, dim=-2)


def in_eight_bits(raw_NCHW: Tensor) -> Tensor:
    """Return raw pixels in [0, 1] cut down to whole 255ths, as a lossless file keeps them."""
    return _bytes(raw_NCHW).to(raw_NCHW) / 255


def through_jpeg(raw_NCHW: Tensor, quality: int = 75) -> Tensor:
    """Return raw pixels in [0, 1] of 1 or 3 channels as they come back from JPEG files."""
    return torch.stack([_through_jpeg(pixels_CHW, quality) for pixels_CHW in _bytes(raw_NCHW).cpu()]).to(raw_NCHW) / 255


def _bytes(raw_NCHW: Tensor) -> Tensor:
    return (raw_NCHW * 255).clamp(0, 255).to(torch.uint8)


def _through_jpeg(pixels_CHW: Tensor, quality: int) -> Tensor:
    height, width = pixels_CHW.shape[1:]
    file = io.BytesIO()
    pixels = pixels_CHW.permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels.squeeze(2) if len(pixels_CHW) == 1 else pixels).save(file, "JPEG", quality=quality)
    back = torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8)
    return back.view(height, width, -1).permute(2, 0, 1)
