"""Pure image operations whose random draws are arguments, differentiable to any order in the pixels.

They act on normalised images x_NCHW of 1 or 3 channels, so zeros that move into a picture are the data set's
mean colour. Draws have one row per image, or a single row that all images share.

Source: Zhao & Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, section 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def brightness(x_NCHW: Tensor, u_N: Tensor, strength: float = 1.0) -> Tensor:
    """Shift all values of an image by (u - 0.5) * strength, u in [0, 1) of shape (N,) or (1,)."""
    return x_NCHW + (_as_column(u_N, x_NCHW) - 0.5) * strength


def saturation(x_NCHW: Tensor, u_N: Tensor, strength: float = 2.0) -> Tensor:
    """Scale each pixel's distance from its mean over channels by strength * u, u in [0, 1), (N,) or (1,)."""
    mean_N1HW = x_NCHW.mean(dim=-3, keepdim=True)
    return mean_N1HW + (x_NCHW - mean_N1HW) * (_as_column(u_N, x_NCHW) * strength)


def contrast(x_NCHW: Tensor, u_N: Tensor, strength: float = 0.5) -> Tensor:
    """Scale the distance from the image's mean over C, H, W by u + strength, u in [0, 1), (N,) or (1,)."""
    mean_N111 = x_NCHW.mean(dim=(-3, -2, -1), keepdim=True)
    return mean_N111 + (x_NCHW - mean_N111) * (_as_column(u_N, x_NCHW) + strength)


def crop(x_NCHW: Tensor, t_N2: Tensor) -> Tensor:
    """Translate by whole pixels: out[i, j] = x[i + t_row, j + t_col], zero outside.

    Args:
        x_NCHW: The images.
        t_N2: Integer translations (row, column) in pixels, of shape (N, 2) or (1, 2). A shared one must be a
            plain CPU tensor, not one that vmap has stacked: its value becomes the bounds of a slice.

    Example:
        >>> crop(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([[0, 1]])).tolist()
        [[[[2.0, 0.0], [4.0, 0.0]]]]
    """
    height, width = x_NCHW.shape[-2:]
    if len(t_N2) == 1:  # one slice for the batch is several times faster than gather, forward and backward
        row, column = t_N2[0].tolist()
        return F.pad(x_NCHW, (-column, column, -row, row))
    t_N2 = t_N2.to(x_NCHW.device)
    row_NH1 = (torch.arange(height, device=x_NCHW.device) + t_N2[:, :1]).unsqueeze(2)
    column_N1W = (torch.arange(width, device=x_NCHW.device) + t_N2[:, 1:]).unsqueeze(1)
    inside_NHW = (row_NH1 >= 0) & (row_NH1 < height) & (column_N1W >= 0) & (column_N1W < width)
    # Positions outside read any pixel, as gather takes no index out of bounds, and are set to zero below.
    index_NHW = row_NH1.clamp(0, height - 1) * width + column_N1W.clamp(0, width - 1)
    pixels_NCP = x_NCHW.flatten(-2)
    moved_NCP = pixels_NCP.gather(-1, index_NHW.flatten(-2).unsqueeze(1).expand_as(pixels_NCP))
    return moved_NCP.view_as(x_NCHW) * inside_NHW.unsqueeze(1).to(x_NCHW.dtype)


def cutout(x_NCHW: Tensor, o_N2: Tensor, ratio: float = 0.5) -> Tensor:
    """Zero a square of side k = floor(ratio * size + 0.5) around an anchor o, inside the image.

    It covers rows and columns o - k//2 to o - k//2 + k - 1.

    Args:
        x_NCHW: The images.
        o_N2: Integer anchors (row, column) in pixels, of shape (N, 2) or (1, 2).
        ratio: The square's side as a share of the image's.
    """
    height, width = x_NCHW.shape[-2:]
    side = pixels(ratio, width)
    start_N2 = o_N2.to(x_NCHW.device) - side // 2
    row_NH1 = (torch.arange(height, device=x_NCHW.device) - start_N2[:, :1]).unsqueeze(2)
    column_N1W = (torch.arange(width, device=x_NCHW.device) - start_N2[:, 1:]).unsqueeze(1)
    blank_NHW = (row_NH1 >= 0) & (row_NH1 < side) & (column_N1W >= 0) & (column_N1W < side)
    return x_NCHW * (~blank_NHW).unsqueeze(1).to(x_NCHW.dtype)


def flip(x_NCHW: Tensor, u_N: Tensor, prob: float = 0.5) -> Tensor:
    """Mirror horizontally where u < prob, u in [0, 1) of shape (N,) or (1,)."""
    # torch.where and not an index: it works under vmap, and with one draw for all images.
    mirrored_N111 = (u_N < prob).to(x_NCHW.device)[:, None, None, None]
    return torch.where(mirrored_N111, x_NCHW.flip(-1), x_NCHW)


def scale(x_NCHW: Tensor, u_N2: Tensor, ratio: float = 1.2) -> Tensor:
    """Sample at (a_x X, a_y Y) about the centre, where a = u * (ratio - 1/ratio) + 1/ratio.

    A factor a > 1 shrinks the picture. Sampling is bilinear, zero outside.

    Args:
        x_NCHW: The images, square.
        u_N2: Draws in [0, 1) for (x, y), the column's factor first, of shape (N, 2) or (1, 2).
        ratio: The largest factor; at least 1.
    """
    factor_N2 = u_N2.to(_grid_like(x_NCHW)) * (ratio - 1 / ratio) + 1 / ratio
    return _warp(x_NCHW, torch.diag_embed(factor_N2))


def rotate(x_NCHW: Tensor, u_N: Tensor, degrees: float = 15.0) -> Tensor:
    """Sample at [[cos, -sin], [sin, cos]] (X, Y) about the centre, with the angle (2u - 1) * degrees.

    Sampling is bilinear, zero outside.

    Args:
        x_NCHW: The images, square.
        u_N: Draws in [0, 1) of shape (N,) or (1,).
        degrees: The largest angle, in degrees.
    """
    angle_N = torch.deg2rad((2 * u_N.to(_grid_like(x_NCHW)) - 1) * degrees)
    cos_N, sin_N = angle_N.cos(), angle_N.sin()
    return _warp(x_NCHW, torch.stack((cos_N, -sin_N, sin_N, cos_N), dim=-1).unflatten(-1, (2, 2)))


def _warp(x_NCHW: Tensor, map_N22: Tensor) -> Tensor:
    """Sample images at a linear map of the (X, Y) coordinates about their centre."""
    # Not torch's affine_grid: its matrix product would lose digits under TF32 or autocast.
    edge_X, edge_Y = (
        torch.arange(1 - size, size, 2, dtype=map_N22.dtype, device=map_N22.device) / size
        for size in (x_NCHW.shape[-1], x_NCHW.shape[-2])
    )
    map_N1122 = map_N22[:, None, None]
    grid_NHW2 = map_N1122[..., 0] * edge_X[:, None] + map_N1122[..., 1] * edge_Y[:, None, None]
    grid_NHW2 = grid_NHW2.expand(len(x_NCHW), -1, -1, -1)
    sampled = F.grid_sample(x_NCHW.to(grid_NHW2.dtype), grid_NHW2, padding_mode="zeros", align_corners=False)
    return sampled.to(x_NCHW.dtype)


def _grid_like(x: Tensor) -> Tensor:
    """Return an empty tensor on the images' device with the precision of coordinates: at least float32."""
    return x.new_empty(0, dtype=torch.promote_types(x.dtype, torch.float32))


def _as_column(u_N: Tensor, x_NCHW: Tensor) -> Tensor:
    return u_N.to(x_NCHW)[:, None, None, None]


def pixels(ratio: float, size: int) -> int:
    """Return a share of ``size`` pixels, rounded to whole pixels, halves upwards.

    Example:
        >>> pixels(0.125, 28)
        4
    """
    # Not round(), which rounds halves to even; the published code adds 0.5 and truncates.
    return int(ratio * size + 0.5)
