"""Distilled sets on a page: their images, the curves of their distillation, and their features."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from markupsafe import Markup

from moe_distill.reports.gallery import Gallery, gallery
from moe_distill.reports.looks import Look
from moe_distill.reports.naming import without_seed
from moe_distill.reports.set_charts import Place, curve_panels, features_svg
from moe_distill.results.wording import count
from moe_distill.store.damage import MANIFEST, Unreadable
from moe_distill.store.tensor_files import load_whole
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion
from moe_distill.terminal import say
from moe_distill.training.trainer import read_curves

MAX_SETS = 12  # on one page, which contains their pictures


@dataclass(frozen=True)
class Manifest:
    """What was recorded beside a set.

    Attributes:
        iterations: How long it was distilled; None where that is not known.
        dcor2_unbiased: How much its experts depend on one another; None where that was not measured.
    """

    iterations: int | None = None
    dcor2_unbiased: float | None = None


@dataclass(frozen=True)
class Distilled:
    """A set as the page shows it.

    Attributes:
        title: Its name.
        words: Its description in words; empty if no row is about it.
        look: How charts draw it.
        sets: The set.
        folder: Its folder in the store, or the file of a single expert.
    """

    title: str
    words: str
    look: Look
    sets: SyntheticUnion
    folder: Path

    @property
    def manifest(self) -> Manifest:
        """What was recorded beside it; an empty manifest if there is none, or it cannot be read."""
        file = self.folder / MANIFEST
        try:
            # A single expert's file has no manifest beside it.
            recorded = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            if not recorded:
                return Manifest()
            dependence = recorded["dcor2_unbiased"]
            return Manifest(int(recorded["iterations"]), None if dependence is None else float(dependence))
        except (LookupError, TypeError, *Unreadable) as error:
            _report_unreadable(file, error)
            return Manifest()


def read_distilled(title: str, words: str, look: Look, path: Path) -> Distilled:
    """Read a set.

    Args:
        title: Its name.
        words: Its description in words.
        look: How charts draw it.
        path: A folder as the store has it, or one expert's file.

    Raises:
        InputError: The set is missing or damaged.
    """
    return Distilled(title, words, look, load_union(path), path)


def load_union(path: Path) -> SyntheticUnion:
    """Return the set in a folder as the store has it, or in one expert's file.

    Raises:
        InputError: The set is missing or damaged.
    """
    loaded = SyntheticSet.load(path)
    # One expert's file is a union of one, so that pages know a single kind of set.
    return loaded if isinstance(loaded, SyntheticUnion) else SyntheticUnion((loaded,))


def picked(titles: Sequence[str], most: int = MAX_SETS) -> list[int]:
    """Return the indices of the sets that a page has room for.

    One distillation seed of each set comes before the second of any.

    >>> picked(["dm seed 0", "dm seed 1", "idm seed 0"], most=2)
    [0, 2]
    """
    seen: Counter[str] = Counter()
    turns = []
    for title in titles:
        name = without_seed(title)
        turns.append(seen[name])
        seen[name] += 1
    # Stable: sets of one turn stay in their order.
    by_turn = sorted(range(len(titles)), key=lambda i: turns[i])
    return sorted(by_turn[:most])


@dataclass(frozen=True)
class SetCard:
    """What a section shows of one set: its name, a note, and pictures or charts."""

    title: str
    words: str
    look: Look
    note: str
    pictures: Gallery | None = None
    drawings: Sequence[Markup] = ()


@dataclass(frozen=True)
class SetsSection:
    """A section about sets, and whether their cards are shown side by side."""

    heading: str
    note: str
    cards: Sequence[SetCard]
    side_by_side: bool = False


def set_sections(distilled: Sequence[Distilled], left_out: int = 0) -> list[SetsSection]:
    """Return the sections of images, features and curves of sets, without those that would be empty.

    Args:
        distilled: The sets.
        left_out: The number of further sets that the page has no room for.
    """
    sections = (images_section(distilled, left_out), features_section(distilled), curves_section(distilled))
    return [section for section in sections if section.cards]


def images_section(distilled: Sequence[Distilled], left_out: int = 0) -> SetsSection:
    """Return the section of the stored images, with a slider over iterations where snapshots were kept.

    Args:
        distilled: The sets.
        left_out: The number of further sets that the page has no room for.
    """
    cards = []
    for number, one_set in enumerate(distilled):
        manifest = one_set.manifest
        words = [count([len(one_set.sets.members)], "expert")]
        if manifest.iterations:
            words.append(count([manifest.iterations], "iteration"))
        if manifest.dcor2_unbiased is not None:
            words.append(f"dCor² unbiased {manifest.dcor2_unbiased:.3f}")
        pictures = gallery(one_set.sets.members, snapshots_of(one_set.folder), f"set-{number}")
        cards.append(SetCard(one_set.title, one_set.words, one_set.look, " · ".join(words), pictures))
    note = "What each expert stores, a row for each class."
    if left_out:
        note += f" {len(distilled)} of {len(distilled) + left_out} sets are shown."
    return SetsSection("Distilled images", note, cards, side_by_side=True)


def curves_section(distilled: Sequence[Distilled]) -> SetsSection:
    """Return the section of the curves that were logged while sets were distilled."""
    cards = []
    for number, one_set in enumerate(distilled):
        panels = curve_panels(f"curves-{number}", read_curves(one_set.folder / "curves.csv"), one_set.look)
        if panels:
            cards.append(SetCard(one_set.title, one_set.words, one_set.look, "", drawings=panels))
    note = (
        "Matching loss of each expert, and how much the experts depend on one another: lower is more diverse."
    )
    return SetsSection("Curves", note, cards)


def features_section(distilled: Sequence[Distilled]) -> SetsSection:
    """Return the section of the features of the experts' images, for sets that recorded them."""
    cards = []
    for number, one_set in enumerate(distilled):
        places, share = _projection(one_set.folder / "features_2d.csv")
        if places:
            svg = features_svg(f"features-{number}", places, one_set.look)
            note = f"Both axes show {100 * share:.0f}\u00a0% of the variance."
            cards.append(SetCard(one_set.title, one_set.words, one_set.look, note, drawings=[svg]))
    note = (
        "Features of all decoded images under the first network of φ, on their two principal axes. A small "
        "dot is an image; a large mark with a number is the mean of that class in one expert, and thin lines "
        "join the experts' means of a class."
    )
    return SetsSection("Features of the experts", note, cards)


def _projection(path: Path) -> tuple[list[Place], float]:
    """Return the position of each image, and the share of the variance that both axes show."""
    if not path.is_file():
        return [], 0.0
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        places = [Place(float(r["x"]), float(r["y"]), r["label"], f"expert {r['expert']}") for r in rows]
        return places, float(rows[0]["share"]) if rows else 0.0
    except (csv.Error, LookupError, TypeError, ValueError) as error:
        _report_unreadable(path, error)
        return [], 0.0


def _report_unreadable(path: Path, error: Exception) -> None:
    """Report a file beside a set that the page is built without, as the set is complete without it."""
    reason = " ".join(str(error).split()) or type(error).__name__
    say(f"{path}: left out of the page, as it cannot be read ({reason})", style="yellow")


def snapshots_of(folder: Path) -> dict[int, dict[int, torch.Tensor]]:
    """Return the snapshots of each expert that a set's folder has: uint8 pixels (N, C, H, W) by iteration."""
    snapshots: dict[int, dict[int, torch.Tensor]] = {}
    for path in (folder / "snapshots").glob("expert_*-*.safetensors"):
        try:
            # expert_<number>-<iteration>.safetensors
            expert, iteration = map(int, path.stem.removeprefix("expert_").split("-"))
            snapshots.setdefault(expert, {})[iteration] = load_whole(path)["pixels"]
        except (LookupError, ValueError) as error:
            _report_unreadable(path, error)
    # Sorted as numbers: a folder lists iteration 1000 before 200.
    return {expert: dict(sorted(shots.items())) for expert, shots in sorted(snapshots.items())}
