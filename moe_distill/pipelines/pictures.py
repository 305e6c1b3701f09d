"""Pictures of the images that experts store, in grids."""

import base64
import html
import io
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image

from moe_distill.synthetic import SyntheticSet

CELL_PIXELS = 48
_GAP = 128


def cell_pixels(synthetic: SyntheticSet) -> int:
    """Return the side of one image in :func:`set_picture`, in pixels, its gap left out."""
    size = synthetic.images.shape[-1]
    return size * max(1, round(CELL_PIXELS / size))


def set_picture(synthetic: SyntheticSet) -> Image.Image:
    """Return one expert's stored images as a grid: a row for each class, a column for each image, gaps of one pixel.

    Where an average of the images is what is evaluated, that is shown. Images are mapped to raw pixels by the set's own
    normalisation, clamped to [0, 1] for viewing, and enlarged by an integer factor (nearest neighbour) to about 48
    pixels. Tiled images are shown as they are stored.

    Returns:
        A picture of mode ``L`` (one channel) or ``RGB``, classes · (cell + 1) − 1 pixels high.
    """
    p = synthetic.provenance
    images_NCHW = synthetic.as_raw(synthetic.final().images.detach().cpu())
    pixels_NCHW = (images_NCHW.nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    side = cell_pixels(synthetic)
    factor = side // pixels_NCHW.shape[-1]
    large_NCHW = pixels_NCHW.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    framed_NCHW = F.pad(large_NCHW, (0, 1, 0, 1), value=_GAP)
    grid = framed_NCHW.unflatten(0, (len(p.classes), p.ipc)).permute(2, 0, 3, 1, 4)
    grid_CHW = grid.reshape(len(grid), len(p.classes) * (side + 1), p.ipc * (side + 1))[:, :-1, :-1]
    return Image.fromarray(grid_CHW[0].numpy() if len(grid) == 1 else grid_CHW.permute(1, 2, 0).contiguous().numpy())


def png_data_uri(image: Image.Image) -> str:
    """Return a picture as a ``data:`` address that needs no file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery(members: Sequence[SyntheticSet]) -> str:
    """Return the pictures of all experts side by side, class names at their left, as HTML."""
    names = "".join(f'<li title="{html.escape(c)}">{html.escape(c)}</li>' for c in members[0].provenance.classes)
    figures = "".join(
        f"<figure><figcaption>expert {p.expert} · {html.escape(p.method)} · ipc {p.ipc}</figcaption>"
        f'<img alt="images stored by expert {p.expert}" src="{png_data_uri(set_picture(member))}" /></figure>'
        for member, p in ((m, m.provenance) for m in members)
    )
    cell = cell_pixels(members[0]) + 1
    return f'<div class="grids"><ol class="classes" style="--cell:{cell}px">{names}</ol>{figures}</div>'
