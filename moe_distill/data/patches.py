"""Pieces of real images: cut at random, ranked by a teacher, put together, kept in eight bits.

Sun, Shi, Yu and Lin, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm", CVPR 2024 (RDED), section 4. Which pieces are cut is drawn first; the rest are pure functions of
images and draws.
"""

import io
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from moe_distill.seeding import global_seed

AREA = (0.08, 1.0)
_RATIOS = [3 / 4, 4 / 3]


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
    """Return the squares, resized (bilinear, with antialias) to ``size`` pixels a side: (N, M, C, size,
    size).
    """
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
    """Return images in the middle of zeros, ``size`` pixels a side; an odd line is added below and on the
    right.
    """
    before, after = (size - x_NCHW.shape[-1]) // 2, (size - x_NCHW.shape[-1] + 1) // 2
    return F.pad(x_NCHW, (before, after, before, after))


def easiest(loss_NM: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Return image and crop, (keep,) each, of the lowest losses, lowest first; one crop an image, of equals
    the first.

    Args:
        loss_NM: Loss of each crop of each image; the lower, the more realistic.
        keep: How many; at most N.
    """
    crop_N = loss_NM.argsort(dim=1, stable=True)[:, 0]
    image_K = loss_NM.gather(1, crop_N[:, None]).squeeze(1).argsort(stable=True)[:keep]
    return image_K, crop_N[image_K]


def stitched(x_KCHW: Tensor, factor: int, size: int) -> Tensor:
    """Compose n = K / factor² images of ``size`` pixels a side, each of ``factor`` × ``factor`` given ones.

    Given image k·n + j becomes cell k, counted row by row, of composed image j, shrunk or enlarged by taking
    nearest pixels. Of a side that ``factor`` does not divide, the first cells are a pixel longer.
    """
    sides = [size // factor + (i < size % factor) for i in range(factor)]
    cells = iter(x_KCHW.split(len(x_KCHW) // factor**2))
    rows = [torch.cat([F.interpolate(next(cells), (h, w)) for w in sides], dim=-1) for h in sides]
    return torch.cat(rows, dim=-2)


def draw_orders(rng: torch.Generator, images: int, factor: int) -> Tensor:
    """Draw a permutation of the ``factor`` columns and one of the rows of each image, (N, 2, factor)
    int64.
    """
    return torch.rand(images, 2, factor, generator=rng).argsort(dim=-1)


def shuffled(x_NCHW: Tensor, order_N2F: Tensor) -> Tensor:
    """Return stitched images with their columns of patches, then their rows, in the given order.

    Of a side that the number of patches does not divide, the first strips are a pixel longer, as in
    :func:`stitched`.
    """
    size, factor = x_NCHW.shape[-1], order_N2F.shape[-1]
    widths = [len(strip) for strip in torch.arange(size).tensor_split(factor)]
    strip_S = torch.arange(factor).repeat_interleave(torch.tensor(widths))
    place_N2F = order_N2F.argsort(dim=-1)  # where each strip goes
    source_N2S = place_N2F[..., strip_S].argsort(dim=-1, stable=True).to(x_NCHW.device)
    columns_NS, rows_NS = source_N2S.unbind(1)
    x_NCHW = x_NCHW.gather(3, columns_NS[:, None, None, :].expand_as(x_NCHW))
    return x_NCHW.gather(2, rows_NS[:, None, :, None].expand_as(x_NCHW))


def draw_regions(rng: torch.Generator, images: int, size: int, least: float) -> Tensor:
    """Draw a region of each image as torchvision's RandomResizedCrop does: top, left, height and width, (N,
    4) int64.

    Args:
        rng: A CPU generator.
        images: N.
        size: The images' side in pixels.
        least: Smallest area, as a share of the image's.
    """
    from torchvision.transforms import RandomResizedCrop  # slow to import, and only stitched sets need it

    with global_seed(rng):
        drawn = [
            RandomResizedCrop.get_params(torch.empty(1, size, size), [least, 1.0], _RATIOS)
            for _ in range(images)
        ]
    return torch.tensor(drawn)


def enlarged(x_NCHW: Tensor, region_N4: Tensor) -> Tensor:
    """Return the regions of images, resized (bilinear, with antialias) to the images' size."""
    size = x_NCHW.shape[-2:]
    pairs = zip(x_NCHW.split(1), region_N4.tolist(), strict=True)
    cuts = [x_1CHW[..., t : t + h, left : left + w] for x_1CHW, (t, left, h, w) in pairs]
    return torch.cat([F.interpolate(cut_1CHW, size, mode="bilinear", antialias=True) for cut_1CHW in cuts])


def in_eight_bits(raw_NCHW: Tensor) -> Tensor:
    """Return raw pixels in [0, 1] cut down to whole 255ths, as a lossless file keeps them."""
    return _bytes(raw_NCHW).to(raw_NCHW) / 255


def through_jpeg(raw_NCHW: Tensor, quality: int = 75) -> Tensor:
    """Return raw pixels in [0, 1] of 1 or 3 channels as they come back from JPEG files."""
    return (
        torch.stack([_through_jpeg(pixels_CHW, quality) for pixels_CHW in _bytes(raw_NCHW).cpu()]).to(
            raw_NCHW
        )
        / 255
    )


def _bytes(raw_NCHW: Tensor) -> Tensor:
    return (raw_NCHW * 255).clamp(0, 255).to(torch.uint8)


def _through_jpeg(pixels_CHW: Tensor, quality: int) -> Tensor:
    height, width = pixels_CHW.shape[1:]
    file = io.BytesIO()
    pixels = pixels_CHW.permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels.squeeze(2) if len(pixels_CHW) == 1 else pixels).save(file, "JPEG", quality=quality)
    back = torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8)
    return back.view(height, width, -1).permute(2, 0, 1)
