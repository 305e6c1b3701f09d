"""A folder in the style of Hugging Face's hub: a card, pictures with their table, and the exact set beside
them.
"""

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
    Written,
    about,
    clamping,
    copy_set,
    exactness,
    learned_labels,
)
from moe_distill.synthetic.synthetic_set import SyntheticUnion

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


def write_hub_folder(together: SyntheticUnion, source: Path, folder: Path, known: Known) -> Written:
    """Write ``README.md``, ``data/train/*.png`` with ``metadata.csv``, and the set's own files."""
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
    return Written(f"safetensors {exact}; pictures {exactness(together)}")


def card(together: SyntheticUnion, images: int, known: Known, file: str = "") -> str:
    """Return the card: YAML between two lines ``---`` (JSON where names are free, which YAML reads), then
    Markdown.

    Args:
        together: The set.
        images: How many decoded images it has.
        known: What is known beside it.
        file: What is to be loaded of the folder, ``/<name>``; all of it where nothing is said.
    """
    facts = about(together)
    files = [{"split": "train", "path": "data/train/**"}]
    configs = [{"config_name": "default", "data_files": files, "features": _features(facts["classes"])}]
    config = [member.provenance.settings for member in together.members]
    front = {
        "pretty_name": f"{_title(facts)}: {images} distilled images",
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation"],
        "size_categories": [_size(images)],
        "configs": configs,
        "distilled": {**facts, **clamping(together), "config": config, "recipe": known.recipe},
    }
    lines = [f"{name}: {_json(value)}" for name, value in front.items()]
    return "\n".join(["---", *lines, "---", "", *_body(together, facts, images, known, file)]) + "\n"


def _features(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns of the table of pictures as ``datasets`` names them; a label knows its class's
    name.
    """
    names = {str(label): name for label, name in enumerate(classes)}
    label = {"name": "label", "dtype": {"class_label": {"names": names}}}
    plain = [{"name": "class", "dtype": "string"}, {"name": "expert", "dtype": "int64"}]
    return [{"name": "image", "dtype": "image"}, label, *plain]


def _json(value: Any) -> str:
    """Return JSON that YAML reads as the same on one line, and a browser as text.

    Letters stay as they are, as YAML does not put halves of a pair together.
    """
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[<>&\x7f-\xa0\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _title(facts: Mapping[str, Any]) -> str:
    methods = "+".join(dict.fromkeys(facts["methods"]))
    ipc = "+".join(str(i) for i in dict.fromkeys(facts["ipc"]))
    return f"{methods} {ipc}x{len(facts['ipc'])} of {facts['dataset']}"


def _size(images: int) -> str:
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
    return next((name for most, name in bounds if images < most), "100K<n<1M")


def _body(
    together: SyntheticUnion, facts: Mapping[str, Any], images: int, known: Known, file: str
) -> list[str]:
    if facts["whitening"] is None:
        seen = f"mean {facts['mean']} and std {facts['std']} of each channel, pixels in [0, 1]"
    else:
        seen = f"ZCA whitening {facts['whitening'][:12]}, stored in whitening.safetensors"
    rows = {
        "data set": f"{facts['dataset']} ({facts['data_variant']}, {facts['data_fingerprint'][:12]})",
        "images": f"{images} decoded, {len(facts['classes'])} classes, {len(facts['ipc'])} experts",
        "normalisation": seen,
        "method": ", ".join(facts["methods"]),
        "learned step size": facts["learned_rate"] or "none",
        "learned labels": "yes, which the pictures leave out" if learned_labels(together) else "no",
        "recipe": (known.recipe or {}).get("name", "not known"),
        "fingerprint": facts["set_fingerprint"],
    }
    table = ["| | |", "|---|---|", *(_line(of) for of in rows.items())]
    load = in_markdown(f"SyntheticSet.load(<this folder>{file}).dataset()")
    use = f"<code>{load}</code> of `moe_distill` gives images and labels as students see them."
    scores = ["", "## Scores", "", "Test accuracy in percent, mean ± std of students, last epoch.", ""]
    scores += ["| recipe | network | accuracy |", "|---|---|---|", *map(_line, known.scores)]
    files = f"`expert_*.safetensors` and `.json`: the set, {EXACT}. `data/train`: pictures, {exactness(together)}."
    head = f"# {in_markdown(_title(facts))}"
    return [head, "", *table, *(scores if known.scores else []), "", "## Files", "", files, "", use]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(in_markdown(str(cell)) for cell in cells)} |"
