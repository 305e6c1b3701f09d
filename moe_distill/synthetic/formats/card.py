"""A folder in the style of Hugging Face's hub: a card, pictures with a table, and the set's own files."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.escaping import in_markdown
from moe_distill.synthetic.formats.image_folder import write_with_table
from moe_distill.synthetic.formats.writing import (
    EXACT,
    ExportReport,
    Facts,
    clamping,
    copy_set,
    exactness,
    facts_of,
    learned_labels,
)
from moe_distill.synthetic.synthetic_set import SyntheticUnion

Score = tuple[str, str, str]
"""Recipe, architecture and accuracy in percent, as text."""


@dataclass(frozen=True)
class CardFacts:
    """Facts about a set that its files do not hold.

    Args:
        recipe: How students are trained on it, as plain JSON; None if it is not known.
        scores: A row for each cell of a results table.
    """

    recipe: Mapping[str, Any] | None = None
    scores: Sequence[Score] = ()


def write_hub_folder(together: SyntheticUnion, source: Path, folder: Path, known: CardFacts) -> ExportReport:
    """Write ``README.md``, ``data/train/*.png`` with ``metadata.csv``, and the set's own files.

    Args:
        together: The set.
        source: Its file, or the folder of its files.
        folder: An empty folder to write to.
        known: Facts for the card.
    """
    pictures = folder / "data" / "train"
    pictures.mkdir(parents=True)
    decoded = together.raw()
    images_MCHW, labels_M, experts_M = (
        t.cpu() for t in (decoded.images_MCHW, decoded.labels_M, decoded.experts_M)
    )
    write_with_table(images_MCHW, labels_M, experts_M, together.provenance.classes, pictures)
    exact = copy_set(together, source, folder).exact
    file = "" if source.is_dir() else f"/{source.name}"
    (folder / "README.md").write_text(card(together, len(labels_M), known, file), encoding="utf-8")
    return ExportReport(f"safetensors {exact}; pictures {exactness(together)}")


def card(together: SyntheticUnion, images: int, known: CardFacts, file: str = "") -> str:
    """Return the card: YAML front matter between two lines ``---``, then Markdown.

    Args:
        together: The set.
        images: Number of its decoded images.
        known: Facts that its files do not hold.
        file: Path to load in the folder, ``/<name>``; empty to load the whole folder.
    """
    facts = facts_of(together)
    files = [{"split": "train", "path": "data/train/**"}]
    configs = [{"config_name": "default", "data_files": files, "features": _features(facts["classes"])}]
    config = [member.provenance.settings for member in together.members]
    front_matter = {
        "pretty_name": f"{_title(facts)}: {images} distilled images",
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation"],
        "size_categories": [_size(images)],
        "configs": configs,
        "distilled": {**facts, **clamping(together), "config": config, "recipe": known.recipe},
    }
    # Values as JSON, which is YAML too: names of classes or settings then need no quoting rules of YAML.
    lines = [f"{name}: {_json(value)}" for name, value in front_matter.items()]
    return "\n".join(["---", *lines, "---", "", *_body(together, facts, images, known, file)]) + "\n"


def _features(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns of the pictures' table in the notation of Hugging Face's ``datasets``."""
    names = {str(label): name for label, name in enumerate(classes)}
    return [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": {"class_label": {"names": names}}},
        {"name": "class", "dtype": "string"},
        {"name": "expert", "dtype": "int64"},
    ]


def _json(value: Any) -> str:
    """Return JSON on one line that YAML reads as the same value, and a browser as text."""
    # Letters are not escaped: YAML does not join the two escapes of a surrogate pair to one letter.
    text = json.dumps(value, ensure_ascii=False)
    # These are: HTML's special characters, control characters and line breaks of Unicode that YAML refuses.
    return re.sub("[<>&\x7f-\xa0\u2028\u2029\ufeff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _title(facts: Facts) -> str:
    methods = "+".join(dict.fromkeys(facts["methods"]))
    ipc = "+".join(str(i) for i in dict.fromkeys(facts["ipc"]))
    return f"{methods} {ipc}x{len(facts['ipc'])} of {facts['dataset']}"


def _size(images: int) -> str:
    # The hub's names of sizes.
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
    return next((name for most, name in bounds if images < most), "100K<n<1M")


def _body(together: SyntheticUnion, facts: Facts, images: int, known: CardFacts, file: str) -> list[str]:
    if facts["whitening"] is None:
        normalisation = f"mean {facts['mean']} and std {facts['std']} of each channel, pixels in [0, 1]"
    else:
        normalisation = f"ZCA whitening {facts['whitening'][:12]}, stored in whitening.safetensors"
    rows = {
        "data set": f"{facts['dataset']} ({facts['data_variant']}, {facts['data_fingerprint'][:12]})",
        "images": f"{images} decoded, {len(facts['classes'])} classes, {len(facts['ipc'])} experts",
        "normalisation": normalisation,
        "method": ", ".join(facts["methods"]),
        "learned step size": facts["learned_rate"] or "none",
        "learned labels": "yes, which the pictures leave out" if learned_labels(together) else "no",
        "recipe": (known.recipe or {}).get("name", "not known"),
        "fingerprint": facts["set_fingerprint"],
    }
    lines = [f"# {in_markdown(_title(facts))}", "", "| | |", "|---|---|", *map(_line, rows.items())]
    if known.scores:
        lines += ["", "## Scores", "", "Test accuracy in percent, mean ± std of students, last epoch.", ""]
        lines += ["| recipe | network | accuracy |", "|---|---|---|", *map(_line, known.scores)]
    load = in_markdown(f"SyntheticSet.load(<this folder>{file}).dataset()")
    own_files = f"`expert_*.safetensors` and `.json`: the set, {EXACT}."
    pictures = f"`data/train`: pictures, {exactness(together)}."
    use = f"<code>{load}</code> of `moe_distill` gives images and labels as students see them."
    return [*lines, "", "## Files", "", f"{own_files} {pictures}", "", use]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(in_markdown(str(cell)) for cell in cells)} |"
