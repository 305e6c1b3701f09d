"""Pictures of the images that experts store, in grids."""

import base64
import io
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from markupsafe import Markup
from PIL import Image

from moe_distill.reports.layout import joined
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


def gallery(members: Sequence[SyntheticSet], ways: Mapping[int, Way] | None = None, name: str = "set") -> Markup:
    """Return the pictures of all experts side by side, class names at their left.

    Args:
        members: The experts' sets.
        ways: How they came about, by expert: a slider then goes through the iterations that all of these have. As these
            pictures are many, they are WebP, enlarged by the browser; the last one is exact.
        name: Unique on the page; names the slider.
    """
    classes = members[0].provenance.classes
    names = joined([Markup('<li title="{0}">{0}</li>').format(c) for c in classes])
    cell = cell_pixels(members[0]) + 1
    steps = sorted(set.intersection(*(set(way) for way in ways.values()))) if ways else []
    figures = joined([_figure(m, (ways or {}).get(m.provenance.expert, {}), steps) for m in members])
    html = Markup('<div class="grids"><ol class="classes" style="--cell:{}px">{}</ol>{}</div>')
    grids = html.format(cell, names, figures)
    return _slider(name, steps) + grids if len(steps) > 1 else grids


def _slider(name: str, steps: Sequence[int]) -> Markup:
    html = Markup(
        '<div class="way"><label for="{name}">iteration</label>'
        '<input type="range" id="{name}" min="0" max="{last}" value="{last}" data-steps="{steps}" />'
        '<output for="{name}">{at}</output></div>'
    )
    return html.format(name=name, last=len(steps) - 1, steps=" ".join(map(str, steps)), at=steps[-1])


def _figure(member: SyntheticSet, way: Way, steps: Sequence[int]) -> Markup:
    p = member.provenance
    last = set_picture(member)
    on_the_way = [(n, i, data_uri(grid_picture(way[i], p.ipc), "webp")) for n, i in enumerate(steps[:-1]) if i in way]
    image = Markup('<img{} width="{}" height="{}" alt="images stored by expert {}{}" src="{}" />')
    size = (last.width, last.height)
    hidden = Markup(' hidden data-step="{}"')
    shots = [image.format(hidden.format(n), *size, p.expert, f" at iteration {i}", u) for n, i, u in on_the_way]
    step = Markup(' data-step="{}"').format(len(steps) - 1) if shots else ""
    shots.append(image.format(step, *size, p.expert, "", data_uri(last)))
    caption = Markup("<figcaption>expert {} · {} · ipc {}</figcaption>").format(p.expert, p.method, p.ipc)
    return Markup("<figure>{}{}</figure>").format(caption, joined(shots))
