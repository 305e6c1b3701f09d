"""Pictures of a run: grids of stored images, and charts as SVG text, which take their colours from the page's style."""

import base64
import html
import io
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from PIL import Image

from moe_distill.synthetic import SyntheticSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL_PIXELS = 48
_GAP = 128
_GREY = 7

# Matplotlib draws with these marks; in the SVG they become what the page's style sheet decides, light or dark.
_INK, _LINE = "#0a0bff", "#0a0bfe"
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_LOG_FROM_RATIO = 30.0

Points = Sequence[tuple[int, float]]


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


def colours_of(variants: Sequence[str], baseline: str | None) -> dict[str, int]:
    """Return the numbers of the page's colours: grey for the baseline, the others in turn for the variants."""
    return {**{v: i % _GREY for i, v in enumerate(variants)}, **({baseline: _GREY} if baseline else {})}


def legend(colours: Mapping[str, int]) -> str:
    """Return what each colour stands for, as HTML."""
    keys = "".join(f"<span>{swatch(c)}{html.escape(variant)}</span>" for variant, c in colours.items())
    return f'<div class="legend">{keys}</div>'


def swatch(colour: int) -> str:
    """Return a spot of the page's colour of that number."""
    return f'<i class="swatch" style="--of:var(--c{colour})"></i>'


def finite(values: Sequence[float]) -> list[float]:
    """Return the values that are neither infinite nor NaN."""
    return [v for v in values if math.isfinite(v)]


def accuracy_svg(
    name: str,
    architectures: Sequence[str],
    cells: Mapping[str, Mapping[str, Sequence[float]]],
    colours: Mapping[str, int],
) -> str:
    """Return bars of mean accuracy by network and variant, with the sample's standard deviation, as SVG text.

    Args:
        name: Unique on the page; prefix of every id.
        architectures: The groups of bars, left to right.
        cells: Accuracies (fractions, one a student) by variant and architecture; what is not finite is left out.
        colours: The number n of each variant's colour, ``var(--c<n>)`` of the page.
    """
    width = max(4.2, 0.8 + len(architectures) * (0.7 + 0.5 * len(cells)))
    with _axes(name, "test accuracy by network and variant", (min(width, 9.6), 3.1)) as (axes, svg):
        bar = 0.8 / max(1, len(cells))
        for place, (variant, by) in enumerate(cells.items()):
            for group, architecture in enumerate(architectures):
                values = finite([100 * v for v in by.get(architecture, [])])
                if values:
                    x = group + (place - (len(cells) - 1) / 2) * bar
                    mean = statistics.mean(values)
                    axes.bar(x, mean, bar * 0.88, color=_mark(colours[variant]), zorder=2)
                    _whisker(axes, x, mean, values)
        axes.set_xticks(range(len(architectures)), architectures)
        axes.set_xlim(-0.55, len(architectures) - 0.45)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("test accuracy, %")
        axes.grid(axis="x", visible=False)
    return svg[0]


def _whisker(axes: "Axes", x: float, mean: float, values: Sequence[float]) -> None:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    if spread:
        axes.errorbar(x, mean, spread, color=_INK, elinewidth=1, capsize=2.5, capthick=1, zorder=3)
    text = axes.annotate(f"{mean:.1f}", (x, mean + spread), (0, 2), textcoords="offset points", fontsize=8)
    text.set(ha="center", va="bottom")


def curve_svg(name: str, curves: Mapping[str, Points], colour: int, y: str) -> str:
    """Return curves against iterations as SVG text, told apart by their dashes.

    The axis is logarithmic where positive values span more than a factor of 30.

    Args:
        name: Unique on the page; prefix of every id.
        curves: (iteration, finite value) pairs by the legend's label.
        colour: The number n of the colour of all curves, ``var(--c<n>)`` of the page.
        y: The label of the axis.
    """
    rows = -(-len(curves) // 4)
    with _axes(name, f"{y} against iterations", (4.2, 2.5 + 0.2 * rows)) as (axes, svg):
        for place, (label, points) in enumerate(curves.items()):
            x, values = [i for i, _ in points], [v for _, v in points]
            look = {"linestyle": _DASHES[place % len(_DASHES)], "alpha": max(0.35, 1 - 0.16 * place)}
            marker = "o" if len(points) == 1 else ""
            axes.plot(x, values, color=_mark(colour), label=label, lw=1.5, marker=marker, **look)
        every = [v for points in curves.values() for _, v in points]
        if min(every) > 0 and max(every) > _LOG_FROM_RATIO * min(every):
            axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_ylabel(y)
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0.2}
        axes.legend(**above, ncols=4, frameon=False, fontsize=8, labelcolor=_INK, handlelength=2.2)
    return svg[0]


def curve_panels(name: str, rows: Sequence[tuple[int, str, float]], colour: int) -> str:
    """Return the charts that (iteration, name, value) rows allow, as HTML: matching losses, dependence of experts."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for iteration, curve, value in rows:
        if math.isfinite(value):
            curves.setdefault(curve, []).append((iteration, value))
    losses = {k.removesuffix("/loss").replace("_", " "): v for k, v in curves.items() if k.endswith("/loss")}
    labels = {"diversity/measure": "measure", "diversity/dcor2_unbiased": "dCor² unbiased"}
    dependence = {label: curves[k] for k, label in labels.items() if k in curves}
    panels = {"matching loss": losses, "dependence of experts": dependence}
    svgs = [curve_svg(f"{name}-{n}", held, colour, y) for n, (y, held) in enumerate(panels.items()) if held]
    return f'<div class="charts">{"".join(f"<div>{svg}</div>" for svg in svgs)}</div>' if svgs else ""


def _mark(colour: int) -> str:
    return f"#0a0b{colour:02x}"


@contextmanager
def _axes(name: str, label: str, inches: tuple[float, float]) -> "Iterator[tuple[Axes, list[str]]]":
    """Give axes to draw on, and a list that holds the SVG text once the block has ended."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn: list[str] = []
    style: dict[Any, Any] = {"svg.hashsalt": name, "svg.fonttype": "none", "text.parse_math": False, "font.size": 9}
    colours: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
    with mpl.rc_context({**style, **colours, "axes.edgecolor": _LINE, "grid.color": _LINE, "axes.axisbelow": True}):
        figure = Figure(figsize=inches, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", lw=0.7)
        axes.tick_params(length=0)
        yield axes, drawn
        buffer = io.StringIO()
        unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=unsaid)
    drawn.append(_inline(buffer.getvalue(), name, label))


def _inline(svg: str, name: str, label: str) -> str:
    """Turn a file's SVG into one that can stand on a page beside others."""
    svg = svg[svg.index("<svg") :]
    # The file's own style would apply to the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(_INK, "currentColor").replace(_LINE, "var(--line)")
    svg = re.sub(r"#0a0b([0-9a-f]{2})", lambda m: f"var(--c{int(m[1], 16)})", svg)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    looks = f"max-width:{width * 1.75:.0f}px;min-width:{width * 0.9:.0f}px"
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}" style="{looks}"', 1)
