"""Pictures of the images that experts store, arranged in grids."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image

from moe_distill.synthetic.synthetic_set import SyntheticSet

CELL_PIXELS = 48  # the side of an image on a page
_GAP = 128  # the grey between images, which shows on black and on white ones
_QUALITY = 90  # of WebP; PNG has none


def cell_pixels(synthetic: SyntheticSet) -> int:
    """Return the side of one image in :func:`set_picture`, in pixels, without its gap."""
    size = synthetic.images.shape[-1]
    return size * _factor(size)


def _factor(size: int) -> int:
    return max(1, round(CELL_PIXELS / size))


def set_picture(synthetic: SyntheticSet) -> Image.Image:
    """Return one expert's stored images as a grid: a row for each class, a column for each image.

    Images are mapped to raw pixels by the set's normalisation, clamped to [0, 1] for viewing, and enlarged by
    an integer factor (nearest neighbour) to about 48 pixels, with gaps of one pixel. Tiled images are shown
    as they are stored. If an average of the images is what is evaluated, the average is shown.

    Returns:
        A picture of mode ``L`` (one channel) or ``RGB``, classes · (cell + 1) − 1 pixels high.
    """
    # Only the view is clamped: a distilled image may leave the range of pixels.
    images_NCHW = synthetic.as_raw(synthetic.final().images.detach().cpu())
    pixels_NCHW = (images_NCHW.nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    return grid_picture(pixels_NCHW, synthetic.provenance.ipc, _factor(images_NCHW.shape[-1]))


def grid_picture(pixels_NCHW: torch.Tensor, ipc: int, factor: int = 1) -> Image.Image:
    """Return class-major images as a grid, one class a row.

    Args:
        pixels_NCHW: uint8 pixels of square images with one or three channels; N = classes · ipc.
        ipc: Images per class, the columns.
        factor: How many pixels wide a pixel is drawn.

    >>> grid_picture(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), ipc=2, factor=2).size
    (33, 50)
    """
    side = pixels_NCHW.shape[-1] * factor
    large_NCHW = pixels_NCHW.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    framed_NCHW = F.pad(large_NCHW, (0, 1, 0, 1), value=_GAP)
    classes = len(pixels_NCHW) // ipc
    grid = framed_NCHW.unflatten(0, (classes, ipc)).permute(2, 0, 3, 1, 4)
    # Every image has a gap at its right and below; those at the edges of the grid are cut off.
    grid_CHW = grid.reshape(len(grid), classes * (side + 1), ipc * (side + 1))[:, :-1, :-1]
    if len(grid) == 1:
        return Image.fromarray(grid_CHW[0].numpy())
    return Image.fromarray(grid_CHW.permute(1, 2, 0).contiguous().numpy())


def data_uri(image: Image.Image, form: str = "png") -> str:
    """Return a picture as a ``data:`` address, which needs no file.

    Args:
        image: The picture.
        form: ``png``, which is lossless, or ``webp``, which is small.
    """
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=_QUALITY)
    return f"data:image/{form};base64," + base64.b64encode(buffer.getvalue()).decode()


Snapshots = Mapping[int, torch.Tensor]
"""Images of an expert during distillation: uint8 pixels (N, C, H, W) by iteration."""


@dataclass(frozen=True)
class Shot:
    """A picture of an expert's images.

    Attributes:
        step: Its position on the slider; None where there is no slider.
        about: Its description for readers who cannot see it.
        address: The picture as a ``data:`` address.
        hidden: Whether it is hidden at first, as the slider stands elsewhere.
    """

    step: int | None
    about: str
    address: str
    hidden: bool


@dataclass(frozen=True)
class Figure:
    """An expert's pictures, all of one size in pixels."""

    caption: str
    width: int
    height: int
    shots: Sequence[Shot]


@dataclass(frozen=True)
class Gallery:
    """The pictures of all experts of a set.

    Attributes:
        name: A name that is unique on the page, for the slider.
        classes: The names of the classes, shown at the left.
        cell: The height of a row of images, in pixels.
        steps: The iterations of the slider; none where there is no slider.
        figures: One for each expert.
    """

    name: str
    classes: Sequence[str]
    cell: int
    steps: Sequence[int]
    figures: Sequence[Figure]


def gallery(
    members: Sequence[SyntheticSet], snapshots: Mapping[int, Snapshots] | None = None, name: str = "set"
) -> Gallery:
    """Return the pictures of all experts side by side.

    Args:
        members: The experts' sets.
        snapshots: Images during distillation, by expert; a slider then shows the iterations that all experts
            have in common.
        name: A name that is unique on the page, for the slider.
    """
    shots = snapshots or {}
    common = sorted(set.intersection(*map(set, shots.values()))) if shots else []
    steps = common if len(common) > 1 else []  # a slider of one step has nothing to show
    figures = [_figure(member, shots.get(member.provenance.expert, {}), steps) for member in members]
    return Gallery(name, members[0].provenance.classes, cell_pixels(members[0]) + 1, steps, figures)


def _figure(member: SyntheticSet, snapshots: Snapshots, steps: Sequence[int]) -> Figure:
    p = member.provenance
    last = set_picture(member)
    description = f"images stored by expert {p.expert}"
    # Snapshots are many: lossy, and enlarged by the browser. The last picture is the exact set.
    shots = [
        Shot(
            n,
            f"{description} at iteration {i}",
            data_uri(grid_picture(snapshots[i], p.ipc), "webp"),
            hidden=True,
        )
        for n, i in enumerate(steps[:-1])
        if i in snapshots
    ]
    shots.append(Shot(len(steps) - 1 if shots else None, description, data_uri(last), hidden=False))
    return Figure(f"expert {p.expert} · {p.method} · ipc {p.ipc}", last.width, last.height, shots)
