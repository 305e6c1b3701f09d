"""Pictures of the images that experts store, in grids."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from PIL import Image

from moe_distill.synthetic import SyntheticSet

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
    """Return one expert's stored images as a grid: a row for each class, a column for each image, gaps of one pixel.

    Where an average of the images is what is evaluated, that is shown. Images are mapped to raw pixels by the set's own
    normalisation, clamped to [0, 1] for viewing, and enlarged by an integer factor (nearest neighbour) to about 48
    pixels. Tiled images are shown as they are stored.

    Returns:
        A picture of mode ``L`` (one channel) or ``RGB``, classes · (cell + 1) − 1 pixels high.
    """
    images_NCHW = synthetic.as_raw(synthetic.final().images.detach().cpu())
    pixels_NCHW = (images_NCHW.nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    return grid_picture(pixels_NCHW, synthetic.provenance.ipc, _factor(images_NCHW.shape[-1]))


def grid_picture(pixels_NCHW: torch.Tensor, ipc: int, factor: int = 1) -> Image.Image:
    """Return class-major images of uint8 pixels as a grid, ``ipc`` to a row, each pixel ``factor`` pixels wide."""
    side = pixels_NCHW.shape[-1] * factor
    large_NCHW = pixels_NCHW.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    framed_NCHW = F.pad(large_NCHW, (0, 1, 0, 1), value=_GAP)
    classes = len(pixels_NCHW) // ipc
    grid = framed_NCHW.unflatten(0, (classes, ipc)).permute(2, 0, 3, 1, 4)
    grid_CHW = grid.reshape(len(grid), classes * (side + 1), ipc * (side + 1))[:, :-1, :-1]
    return Image.fromarray(grid_CHW[0].numpy() if len(grid) == 1 else grid_CHW.permute(1, 2, 0).contiguous().numpy())


def data_uri(image: Image.Image, form: str = "png") -> str:
    """Return a picture as a ``data:`` address that needs no file: ``png``, which loses nothing, or ``webp``."""
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=_QUALITY)
    return f"data:image/{form};base64," + base64.b64encode(buffer.getvalue()).decode()


Way = Mapping[int, torch.Tensor]
"""Images of an expert on the way: uint8 pixels (N, C, H, W) by iteration."""


def gallery(members: Sequence[SyntheticSet], ways: Mapping[int, Way] | None = None, name: str = "set") -> str:
    """Return the pictures of all experts side by side, class names at their left, as HTML.

    Args:
        members: The experts' sets.
        ways: How they came about, by expert: a slider then goes through the iterations that all of these have. As these
            pictures are many, they are WebP, enlarged by the browser; the last one is exact.
        name: Unique on the page; names the slider.
    """
    classes = members[0].provenance.classes
    names = "".join(f'<li title="{html.escape(c)}">{html.escape(c)}</li>' for c in classes)
    cell = cell_pixels(members[0]) + 1
    steps = sorted(set.intersection(*(set(way) for way in ways.values()))) if ways else []
    figures = "".join(_figure(member, (ways or {}).get(member.provenance.expert, {}), steps) for member in members)
    grids = f'<div class="grids"><ol class="classes" style="--cell:{cell}px">{names}</ol>{figures}</div>'
    return _slider(name, steps) + grids if len(steps) > 1 else grids


def _slider(name: str, steps: Sequence[int]) -> str:
    last = len(steps) - 1
    told = " ".join(map(str, steps))
    return (
        f'<div class="way"><label for="{name}">iteration</label>'
        f'<input type="range" id="{name}" min="0" max="{last}" value="{last}" data-steps="{told}" />'
        f'<output for="{name}">{steps[-1]}</output></div>'
    )


def _figure(member: SyntheticSet, way: Way, steps: Sequence[int]) -> str:
    p = member.provenance
    head = f"<figcaption>expert {p.expert} · {html.escape(p.method)} · ipc {p.ipc}</figcaption>"
    about = f'alt="images stored by expert {p.expert}'
    last = set_picture(member)
    size = f'width="{last.width}" height="{last.height}"'
    on_the_way = [(n, i, data_uri(grid_picture(way[i], p.ipc), "webp")) for n, i in enumerate(steps[:-1]) if i in way]
    shots = [f'<img hidden data-step="{n}" {size} {about} at iteration {i}" src="{u}" />' for n, i, u in on_the_way]
    step = f' data-step="{len(steps) - 1}"' if shots else ""
    return f'<figure>{head}{"".join(shots)}<img{step} {size} {about}" src="{data_uri(last)}" /></figure>'
