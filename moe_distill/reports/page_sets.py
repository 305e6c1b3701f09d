"""Distilled sets as sections of a page: their images, how these came about, and where their features lie."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from markupsafe import Markup

from moe_distill.reports.charts import curve_panels
from moe_distill.reports.figures import Dot, flat_svg
from moe_distill.reports.gallery import gallery
from moe_distill.reports.layout import joined, section
from moe_distill.reports.svg import swatch
from moe_distill.results.rows import Row, variant_names
from moe_distill.results.set_names import set_of
from moe_distill.results.wording import count
from moe_distill.store.damage import MANIFEST, Unreadable, say
from moe_distill.store.tensor_files import load_whole
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion
from moe_distill.training.trainer import read_curves

_MOST, _SEED = 12, " seed "
_JUDGING = ("fusion", "recipe", "recipe_key", "epochs", "images_decoded")


@dataclass(frozen=True)
class Distilled:
    """A set as the page shows it: what it is called, its colour's number, and the folder it lies in."""

    title: str
    colour: int
    sets: SyntheticUnion
    folder: Path

    @property
    def heading(self) -> Markup:
        """Its name beside its colour."""
        return Markup("<h3>{}{}</h3>").format(swatch(self.colour), self.title)

    @property
    def manifest(self) -> Row:
        """What was recorded beside it; nothing where that is missing or something else."""
        noted = self.folder / MANIFEST
        try:
            told: Row = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
            if not told:
                return {}
            dependence = told["dcor2_unbiased"]
            known = None if dependence is None else float(dependence)
            return {"iterations": int(told["iterations"]), "dcor2_unbiased": known}
        except (LookupError, TypeError, *Unreadable) as error:
            _left_out(noted, error)
            return {}


def read_distilled(label: str, path: Path, named: Mapping[str, str], colours: Mapping[str, int]) -> Distilled:
    """Read a set.

    Args:
        label: What it is called where no row is about it.
        path: A folder as the store holds it, or one expert's file.
        named: Variants by what names the set their students were trained on (``rows.set_of``).
        colours: Numbers of colours by variant.

    Raises:
        InputError: The set is missing or damaged.
    """
    sets = SyntheticSet.load(path)
    title = named.get(sets.tensors_fingerprint(), label)
    return Distilled(title, colours.get(title, 0), sets, path)


def set_names(rows: Sequence[Row]) -> dict[str, str]:
    """Return what each set is called, by ``rows.set_of``: what tells sets apart, however they were judged.

    Sets that differ in their distillation seed alone have it in their names.
    """
    names = variant_names([{**row, **dict.fromkeys(_JUDGING)} for row in rows])
    prints: dict[str, set[str]] = {}
    for row, name in zip(rows, names, strict=True):
        prints.setdefault(name, set()).add(set_of(row))
    return {
        set_of(row): f"{name}{_SEED}{'' if row['distill_seed'] is None else row['distill_seed']}"
        if len(prints[name]) > 1
        else name
        for row, name in zip(rows, names, strict=True)
    }


def picked(distilled: Sequence[Distilled], most: int = _MOST) -> tuple[list[Distilled], int]:
    """Return the sets that a page has room for, one distillation seed of each before another, and how many it lacks."""
    met: Counter[str] = Counter()
    turns = []
    for shown in distilled:
        name = shown.title.partition(_SEED)[0]
        turns.append(met[name])
        met[name] += 1
    taken = sorted(sorted(range(len(distilled)), key=lambda i: turns[i])[:most])
    return [distilled[i] for i in taken], len(distilled) - len(taken)


def images_section(distilled: Sequence[Distilled], left_out: int = 0) -> Markup:
    """Return the stored images of sets, with a slider over how they came about where that was kept.

    Args:
        distilled: The sets.
        left_out: How many more there are, for which the page has no room.
    """
    cards = []
    for number, shown in enumerate(distilled):
        said = [count([len(shown.sets.members)], "expert")]
        if shown.manifest:
            said += [count([n], "iteration") for n in [shown.manifest["iterations"]] if n]
            said += [f"dCor² unbiased {d:.3f}" for d in [shown.manifest["dcor2_unbiased"]] if d is not None]
        pictures = gallery(shown.sets.members, snapshots_of(shown.folder), f"set-{number}")
        about = Markup('<p class="soft">{}</p>').format(" · ".join(said))
        cards.append(joined([shown.heading, about, pictures]))
    note = "What each expert stores, a row for each class."
    note += f" {len(distilled)} of {len(distilled) + left_out} sets are shown." if left_out else ""
    return section("Distilled images", note, cards, "sets")


def curves_section(distilled: Sequence[Distilled]) -> Markup:
    """Return what was logged while sets were distilled."""
    panels = []
    for number, shown in enumerate(distilled):
        curves = read_curves(shown.folder / "curves.csv")
        panels.append((shown, curve_panels(f"curves-{number}", curves, shown.colour)))
    note = "Matching loss of each expert, and how much the experts depend on one another: lower is more diverse."
    return section("Curves", note, [shown.heading + svgs for shown, svgs in panels if svgs])


def projections_section(distilled: Sequence[Distilled]) -> Markup:
    """Return where the features of the experts' images lie, for the sets that noted it."""
    cards = []
    for number, shown in enumerate(distilled):
        points, share = _projection(shown.folder / "features_2d.csv")
        if points:
            svg = flat_svg(f"features-{number}", points)
            axes = Markup('<p class="soft">Both axes show {:.0f}\u00a0% of the variance.</p>').format(100 * share)
            cards.append(joined([shown.heading, axes, Markup('<div class="scroll">{}</div>').format(svg)]))
    note = (
        "Features of all decoded images under the first network of φ, on their two principal axes; a digit is a class."
    )
    return section("Features of the experts", note, cards, "sets")


def _projection(path: Path) -> tuple[list[Dot], float]:
    """Return a dot for each image, labelled by its class and of its expert's kind, and the share of the variance."""
    if not path.is_file():
        return [], 0.0
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        dots = [Dot(r["label"], float(r["x"]), float(r["y"]), f"expert {r['expert']}") for r in rows]
        return dots, float(rows[0]["share"]) if rows else 0.0
    except (csv.Error, LookupError, TypeError, ValueError) as error:
        _left_out(path, error)
        return [], 0.0


def _left_out(path: Path, error: Exception) -> None:
    """Say of a file beside a set, which is no part of it, that the page goes without."""
    say(f"{path}: left out of the page, as it cannot be read ({' '.join(str(error).split()) or type(error).__name__})")


def snapshots_of(folder: Path) -> dict[int, dict[int, torch.Tensor]]:
    """Return the images of each expert on the way, uint8 pixels (N, C, H, W) by iteration, where a set kept them."""
    found: dict[int, dict[int, torch.Tensor]] = {}
    for path in (folder / "snapshots").glob("expert_*-*.safetensors"):
        try:
            expert, iteration = map(int, path.stem.removeprefix("expert_").split("-"))
            found.setdefault(expert, {})[iteration] = load_whole(path)["pixels"]
        except (LookupError, ValueError) as error:
            _left_out(path, error)
    return {expert: dict(sorted(shots.items())) for expert, shots in sorted(found.items())}
