"""A folder in the style of Hugging Face's hub: a card, pictures with their table, and the exact set beside them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.formats.image_folder import write_with_table
from moe_distill.formats.writing import EXACT, PICTURES, about, copy_set
from moe_distill.synthetic import Union

Score = tuple[str, str, str]


@dataclass(frozen=True)
class Known:
    """What is known of a set beside its own files.

    Args:
        recipe: How students are trained on it, as plain JSON; None where nobody said.
        scores: Recipe, architecture and accuracy in percent, in words, of each cell of a results table.
    """

    recipe: Mapping[str, Any] | None = None
    scores: Sequence[Score] = ()


def write_hub_folder(together: Union, source: Path, folder: Path, known: Known) -> str:
    """Write ``README.md``, ``data/train/*.png`` with ``metadata.csv``, and the set's own files."""
    pictures = folder / "data" / "train"
    pictures.mkdir(parents=True)
    decoded = together.raw()
    images_MCHW, labels_M, experts_M = (t.cpu() for t in (decoded.images_MCHW, decoded.labels_M, decoded.experts_M))
    write_with_table(images_MCHW, labels_M, experts_M, together.provenance.classes, pictures)
    exact = copy_set(together, source, folder)
    file = "" if source.is_dir() else f"/{source.name}"
    (folder / "README.md").write_text(card(together, len(labels_M), known, file), encoding="utf-8")
    return f"safetensors {exact}; pictures {PICTURES}"


def card(together: Union, images: int, known: Known, file: str = "") -> str:
    """Return the card: YAML between two lines ``---`` (JSON where names are free, which YAML reads), then Markdown.

    Args:
        together: The set.
        images: How many decoded images it has.
        known: What is known beside it.
        file: What is to be loaded of the folder, ``/<name>``; all of it where nothing is said.
    """
    facts = about(together)
    configs = [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train/**"}]}]
    config = [member.provenance.settings for member in together.members]
    front = {
        "pretty_name": f"{_title(facts)}: {images} distilled images",
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation"],
        "size_categories": [_size(images)],
        "configs": configs,
        "distilled": {**facts, "config": config, "recipe": known.recipe},
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()]
    return "\n".join(["---", *lines, "---", "", *_body(together, facts, images, known, file)]) + "\n"


def _title(facts: Mapping[str, Any]) -> str:
    methods = "+".join(dict.fromkeys(facts["methods"]))
    ipc = "+".join(str(i) for i in dict.fromkeys(facts["ipc"]))
    return f"{methods} {ipc}x{len(facts['ipc'])} of {facts['dataset']}"


def _size(images: int) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
    return next((name for most, name in bounds if images < most), "100K<n<1M")


def _body(together: Union, facts: Mapping[str, Any], images: int, known: Known, file: str) -> list[str]:
    if facts["whitening"] is None:
        seen = f"mean {facts['mean']} and std {facts['std']} of each channel, pixels in [0, 1]"
    else:
        seen = f"ZCA whitening {facts['whitening'][:12]}, stored in whitening.safetensors"
    rows = [
        f"| data set | {facts['dataset']} ({facts['data_variant']}, {facts['data_fingerprint'][:12]}) |",
        f"| images | {images} decoded, {len(facts['classes'])} classes, {len(facts['ipc'])} experts |",
        f"| normalisation | {seen} |",
        f"| method | {', '.join(facts['methods'])} |",
        f"| learned step size | {facts['learned_rate'] or 'none'} |",
        f"| learned labels | {'yes' if any(m.soft_labels is not None for m in together.members) else 'no'} |",
        f"| recipe | {(known.recipe or {}).get('name', 'not known')} |",
        f"| fingerprint | {facts['set_fingerprint']} |",
    ]
    table = ["| | |", "|---|---|", *rows]
    load = f"`SyntheticSet.load(<this folder>{file}).dataset()`"
    use = f"{load} of `moe_distill` gives images and labels as students see them."
    scores = ["", "## Scores", "", "Test accuracy in percent, mean ± std of students, last epoch.", ""]
    scores += ["| recipe | network | accuracy |", "|---|---|---|", *(f"| {' | '.join(s)} |" for s in known.scores)]
    files = f"`expert_*.safetensors` and `.json`: the set, {EXACT}. `data/train`: pictures, {PICTURES}."
    return [f"# {_title(facts)}", "", *table, *(scores if known.scores else []), "", "## Files", "", files, "", use]
