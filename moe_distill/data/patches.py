"""Patches of real images: cropped at random, ranked by a teacher's loss, stitched, stored in eight bits.

Source: Sun, Shi, Yu and Lin, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset
Distillation Paradigm", CVPR 2024 (RDED), section 4. The ``draw_…`` functions draw all random numbers; the
others are pure functions of images and draws.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_distill.seeding import global_seed

AREA = (0.08, 1.0)  # smallest and largest area of a crop, as a share of the image's
_RATIOS = [3 / 4, 4 / 3]  # width by height; the default of torchvision's RandomResizedCrop


class Crops(NamedTuple):
    """Squares to cut out: M of each of N images, in pixels, int64 of shape (N, M)."""

    top_NM: Tensor
    left_NM: Tensor
    side_NM: Tensor


def draw_crops(rng: torch.Generator, images: int, crops: int, size: int) -> Crops:
    """Draw squares with an area uniform in [0.08, 1] of the image's and a position uniform inside it.

    Args:
        rng: A CPU generator.
        images: Number of images N.
        crops: Number of crops of each image, M.
        size: The images' side in pixels.

    Example:
        >>> drawn = draw_crops(torch.Generator(), images=2, crops=5, size=32)
        >>> drawn.side_NM.shape, bool((drawn.left_NM + drawn.side_NM <= 32).all())
        (torch.Size([2, 5]), True)
    """
    u_3NM = torch.rand(3, images, crops, generator=rng, dtype=torch.float64)
    area_NM = AREA[0] + (AREA[1] - AREA[0]) * u_3NM[0]
    # A uniform area, not a uniform side, as in RandomResizedCrop; RDED's crops are square.
    side_NM = (size * area_NM.sqrt()).round().long().clamp(1, size)
    top_NM, left_NM = ((u_NM * (size - side_NM + 1)).long() for u_NM in u_3NM[1:])
    return Crops(top_NM, left_NM, side_NM)


def cut(x_NCHW: Tensor, crops: Crops, size: int) -> Tensor:
    """Return the crops, resized (bilinear, antialiased) to ``size`` pixels: (N, M, C, size, size)."""
    n, m = crops.side_NM.shape
    image_P = torch.arange(n, device=x_NCHW.device).repeat_interleave(m)
    top_P, left_P, side_P = (drawn.flatten().to(x_NCHW.device) for drawn in crops)
    cut_PCHW = x_NCHW.new_empty(n * m, x_NCHW.shape[1], size, size)
    # Crops of one side make one batch: a call to interpolate for each crop would take far longer.
    for side in crops.side_NM.unique().tolist():
        rows_Q = (side_P == side).nonzero().squeeze(1)
        line_S = torch.arange(side, device=x_NCHW.device)
        row_QS1 = (top_P[rows_Q, None] + line_S)[..., None]
        column_Q1S = (left_P[rows_Q, None] + line_S)[:, None]
        window_QSSC = x_NCHW.permute(0, 2, 3, 1)[image_P[rows_Q, None, None], row_QS1, column_Q1S]
        window_QCSS = window_QSSC.permute(0, 3, 1, 2)
        cut_PCHW[rows_Q] = F.interpolate(window_QCSS, (size, size), mode="bilinear", antialias=True)
    return cut_PCHW.unflatten(0, (n, m))


def framed(x_NCHW: Tensor, size: int) -> Tensor:
    """Return images centred in zeros, ``size`` pixels a side.

    If the number of added lines is odd, the last one is added below and on the right.
    """
    from torchvision.transforms.v2.functional import center_crop  # slow to import, and only RDED needs it

    return center_crop(x_NCHW, [size, size])


def easiest(loss_NM: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Return the image and crop indices, (keep,) each, of the lowest losses, lowest first.

    At most one crop of each image is chosen. Of equal losses the first is taken.

    Args:
        loss_NM: Loss of each crop of each image; the lower, the more realistic.
        keep: Number of crops to choose; at most N.

    Example:
        >>> images, crops = easiest(torch.tensor([[3.0, 1.0], [0.5, 2.0], [4.0, 9.0]]), keep=2)
        >>> images.tolist(), crops.tolist()
        ([1, 0], [0, 1])
    """
    # Stable sorts: which of several equal losses comes first must not depend on the device.
    crop_N = loss_NM.argsort(dim=1, stable=True)[:, 0]
    image_K = loss_NM.gather(1, crop_N[:, None]).squeeze(1).argsort(stable=True)[:keep]
    return image_K, crop_N[image_K]


def stitched(x_KCHW: Tensor, factor: int, size: int) -> Tensor:
    """Stitch every ``factor`` × ``factor`` images into one: n = K / factor² images of ``size`` pixels.

    Input image k·n + j becomes cell k, counted row by row, of output image j, resized by nearest pixels. If
    ``factor`` does not divide the side, the first cells are a pixel longer.

    Example:
        >>> stitched(torch.arange(4.0).view(4, 1, 1, 1), factor=2, size=2).tolist()
        [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    sides = [size // factor + (i < size % factor) for i in range(factor)]
    cells = iter(x_KCHW.split(len(x_KCHW) // factor**2))
    rows = []
    for height in sides:
        row = [F.interpolate(next(cells), (height, width)) for width in sides]
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)


def draw_orders(rng: torch.Generator, images: int, factor: int) -> Tensor:
    """Draw a permutation of columns and one of rows for each image, (N, 2, factor) int64."""
    return torch.rand(images, 2, factor, generator=rng).argsort(dim=-1)


def shuffled(x_NCHW: Tensor, order_N2F: Tensor) -> Tensor:
    """Return stitched images with their columns and rows of patches in the given order.

    If the number of patches does not divide the side, the first strips are a pixel longer, as in
    :func:`stitched`.

    Args:
        x_NCHW: Stitched images.
        order_N2F: Order of the columns and of the rows, see :func:`draw_orders`.
    """
    size, factor = x_NCHW.shape[-1], order_N2F.shape[-1]
    widths = [len(strip) for strip in torch.arange(size).tensor_split(factor)]
    strip_S = torch.arange(factor).repeat_interleave(torch.tensor(widths))
    place_N2F = order_N2F.argsort(dim=-1)  # where each strip goes
    # Lines sorted by the place of their strip, stable so that the lines within a strip keep their order.
    source_N2S = place_N2F[..., strip_S].argsort(dim=-1, stable=True).to(x_NCHW.device)
    columns_NS, rows_NS = source_N2S.unbind(1)
    x_NCHW = x_NCHW.gather(3, columns_NS[:, None, None, :].expand_as(x_NCHW))
    return x_NCHW.gather(2, rows_NS[:, None, :, None].expand_as(x_NCHW))


def draw_regions(rng: torch.Generator, images: int, size: int, least: float) -> Tensor:
    """Draw a region of each image as torchvision's RandomResizedCrop does.

    Args:
        rng: A CPU generator.
        images: Number of images N.
        size: The images' side in pixels.
        least: Smallest area, as a share of the image's.

    Returns:
        Top, left, height and width in pixels, (N, 4) int64.
    """
    from torchvision.transforms import RandomResizedCrop  # slow to import, and only stitched sets need it

    image_1HW = torch.empty(1, size, size)  # only its size is read
    with global_seed(rng):  # torchvision draws from the global generator
        regions = [RandomResizedCrop.get_params(image_1HW, [least, 1.0], _RATIOS) for _ in range(images)]
    return torch.tensor(regions)


def enlarged(x_NCHW: Tensor, region_N4: Tensor) -> Tensor:
    """Return the regions of images, resized (bilinear, with antialias) to the images' size."""
    size = x_NCHW.shape[-2:]
    resized = []
    for x_1CHW, (top, left, height, width) in zip(x_NCHW.split(1), region_N4.tolist(), strict=True):
        region_1CHW = x_1CHW[..., top : top + height, left : left + width]
        resized.append(F.interpolate(region_1CHW, size, mode="bilinear", antialias=True))
    return torch.cat(resized)


def in_eight_bits(raw_NCHW: Tensor) -> Tensor:
    """Return raw pixels in [0, 1] rounded down to whole 255ths, as a lossless 8-bit file stores them.

    Example:
        >>> (in_eight_bits(torch.tensor([0.0, 0.5, 1.0])) * 255).tolist()
        [0.0, 127.0, 255.0]
    """
    return _bytes(raw_NCHW).to(raw_NCHW) / 255


def through_jpeg(raw_NCHW: Tensor) -> Tensor:
    """Return raw pixels in [0, 1] of 1 or 3 channels as they come back from JPEG files of quality 75."""
    from torchvision.transforms.v2.functional import jpeg  # slow to import, and only RDED needs it

    return jpeg(_bytes(raw_NCHW).cpu(), quality=75).to(raw_NCHW) / 255


def _bytes(raw_NCHW: Tensor) -> Tensor:
    # The cast rounds down, as the published code does with the images it saves.
    return (raw_NCHW * 255).clamp(0, 255).to(torch.uint8)
