"""Draw the README's picture of distilled images.

``python docs/pictures.py runs/store/set/<key> docs/assets/digits.png``; the set is that of ``make demo``, and
its key is in ``runs/quickstart/stages.json``.
"""

import sys

import torch
from torchvision.utils import make_grid, save_image

from moe_distill.synthetic.synthetic_set import SyntheticSet

_SHOWN = 2  # images a class and expert
_ENLARGED = 8


def draw(path: str, picture: str) -> None:
    """Draw the first images of each expert, a column a class, a gap between experts."""
    strips = []
    for member in SyntheticSet.load(path).members:
        pixels, ipc = member.final().raw().detach().clamp(0, 1), member.provenance.ipc
        rows = [c * ipc + i for i in range(_SHOWN) for c in range(len(member.provenance.classes))]
        strips.append(make_grid(pixels[rows], nrow=len(rows) // _SHOWN, padding=1, pad_value=0.5))
    gap = torch.full_like(strips[0][:, :2], 0.5)
    grid = torch.cat([part for strip in strips for part in (strip, gap)][:-1], dim=1)
    save_image(grid.repeat_interleave(_ENLARGED, 1).repeat_interleave(_ENLARGED, 2), picture)


if __name__ == "__main__":
    draw(*sys.argv[1:])
