"""Pictures of the images that experts store, in grids."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image

from moe_distill.synthetic.synthetic_set import SyntheticSet

CELL_PIXELS = 48
_GAP = 128
_QUALITY = 90


def cell_pixels(synthetic: SyntheticSet) -> int:
    """Return the side of one image in :func:`set_picture`, in pixels, its gap left out."""
    size = synthetic.images.shape[-1]
    return size * _factor(size)


def _factor(size: int) -> int:
    return max(1, round(CELL_PIXELS / size))


def set_picture(synthetic: SyntheticSet) -> Image.Image:
    """Return one expert's stored images as a grid: a row for each class, a column for each image, gaps of one
    pixel.

    Where an average of the images is what is evaluated, that is shown. Images are mapped to raw pixels by the
    set's own normalisation, clamped to [0, 1] for viewing, and enlarged by an integer factor (nearest
    neighbour) to about 48 pixels. Tiled images are shown as they are stored.

    Returns:
        A picture of mode ``L`` (one channel) or ``RGB``, classes · (cell + 1) − 1 pixels high.
    """
    images_NCHW = synthetic.as_raw(synthetic.final().images.detach().cpu())
    pixels_NCHW = (images_NCHW.nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    return grid_picture(pixels_NCHW, synthetic.provenance.ipc, _factor(images_NCHW.shape[-1]))


def grid_picture(pixels_NCHW: torch.Tensor, ipc: int, factor: int = 1) -> Image.Image:
    """Return class-major images of uint8 pixels as a grid, ``ipc`` to a row, each pixel ``factor`` pixels
    wide.
    """
    side = pixels_NCHW.shape[-1] * factor
    large_NCHW = pixels_NCHW.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    framed_NCHW = F.pad(large_NCHW, (0, 1, 0, 1), value=_GAP)
    classes = len(pixels_NCHW) // ipc
    grid = framed_NCHW.unflatten(0, (classes, ipc)).permute(2, 0, 3, 1, 4)
    grid_CHW = grid.reshape(len(grid), classes * (side + 1), ipc * (side + 1))[:, :-1, :-1]
    return Image.fromarray(
        grid_CHW[0].numpy() if len(grid) == 1 else grid_CHW.permute(1, 2, 0).contiguous().numpy()
    )


def data_uri(image: Image.Image, form: str = "png") -> str:
    """Return a picture as a ``data:`` address that needs no file: ``png``, which loses nothing, or
    ``webp``.
    """
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=_QUALITY)
    return f"data:image/{form};base64," + base64.b64encode(buffer.getvalue()).decode()


Snapshots = Mapping[int, torch.Tensor]
"""Images of an expert on the way: uint8 pixels (N, C, H, W) by iteration."""


@dataclass(frozen=True)
class Shot:
    """A picture of an expert's images.

    Attributes:
        step: Its place on the slider; None where there is no slider.
        about: What is said of it, for whom cannot see it.
        address: The picture itself.
        hidden: Whether the slider is elsewhere at first.
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
        name: Unique on the page; names the slider.
        classes: Their names, which stand at the left.
        cell: The height of a row of images, in pixels.
        steps: The iterations that the slider goes through; none where there is no slider.
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
        snapshots: How they came about, by expert: a slider then goes through the iterations that all of these
            have. As these pictures are many, they are WebP, enlarged by the browser; the last one is exact.
        name: Unique on the page; names the slider.
    """
    shots = snapshots or {}
    common = sorted(set.intersection(*(set(of) for of in shots.values()))) if shots else []
    steps = common if len(common) > 1 else []
    figures = [_figure(member, shots.get(member.provenance.expert, {}), steps) for member in members]
    return Gallery(name, members[0].provenance.classes, cell_pixels(members[0]) + 1, steps, figures)


def _figure(member: SyntheticSet, snapshots: Snapshots, steps: Sequence[int]) -> Figure:
    p = member.provenance
    last = set_picture(member)
    about = f"images stored by expert {p.expert}"
    shots = [
        Shot(n, f"{about} at iteration {i}", data_uri(grid_picture(snapshots[i], p.ipc), "webp"), hidden=True)
        for n, i in enumerate(steps[:-1])
        if i in snapshots
    ]
    shots.append(Shot(len(steps) - 1 if shots else None, about, data_uri(last), hidden=False))
    return Figure(f"expert {p.expert} · {p.method} · ipc {p.ipc}", last.width, last.height, shots)
