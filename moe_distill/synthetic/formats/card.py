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
from moe_distill.validation.values import License, checked

UNKNOWN = "unknown"  # the Hub's identifier of a licence that is not known
Score = tuple[str, str, str]
"""Recipe, architecture and accuracy in percent, as text."""


@checked
@dataclass(frozen=True)
class CardFacts:
    """Facts about a set that its files do not hold.

    Args:
        recipe: How students are trained on it, as plain JSON; None if it is not known.
        scores: A row for each cell of a results table.
        license: Its licence by the Hub's identifier; None if it is not known.
    """

    recipe: Mapping[str, Any] | None = None
    scores: Sequence[Score] = ()
    license: License | None = None


def write_hub_folder(together: SyntheticUnion, source: Path, folder: Path, known: CardFacts) -> ExportReport:
    """Write ``README.md``, ``data/train/*.png`` with ``metadata.jsonl``, and the set's own files.

    Args:
        together: The set.
        source: Its file, or the folder of its files.
        folder: An empty folder to write to.
        known: Facts for the card.
    """
    pictures = folder / "data" / "train"
    pictures.mkdir(parents=True)
    decoded = together.raw()
    write_with_table(decoded, together.provenance.classes, pictures)
    exact = copy_set(together, source, folder).exact
    path = "." if source.is_dir() else source.name
    text = card(together, len(decoded.labels_M), known, path)
    (folder / "README.md").write_text(text, encoding="utf-8")
    labels = "; learned labels are in both" if learned_labels(together) else ""
    return ExportReport(f"safetensors {exact}; pictures {exactness(together)}{labels}")


def card(together: SyntheticUnion, images: int, known: CardFacts, path: str = ".") -> str:
    """Return the card: YAML front matter between two lines ``---``, then Markdown.

    Args:
        together: The set.
        images: Number of its decoded images.
        known: Facts that its files do not hold.
        path: What to load, seen from the folder: a file's name, or ``.`` for the files of all experts.
    """
    facts = facts_of(together)
    files = [{"split": "train", "path": "data/train/**"}]
    features = _features(facts["classes"], learned_labels(together))
    config = [member.provenance.settings for member in together.members]
    front_matter = {
        "pretty_name": f"{_title(facts)}: {images} images",
        "license": known.license or UNKNOWN,
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation"],
        "size_categories": [_size(images)],
        # Both, as datasets 5.2 reads the columns of the first alone, and 2.19 fails without the second.
        "configs": [{"config_name": "default", "data_files": files, "features": features}],
        "dataset_info": {"features": features},
        "distilled": {**facts, **clamping(together), "config": config, "recipe": known.recipe},
    }
    # Values as JSON, which is YAML too: names of classes or settings then need no quoting rules of YAML.
    lines = [f"{name}: {_json(value)}" for name, value in front_matter.items()]
    return "\n".join(["---", *lines, "---", "", *_body(together, facts, images, known, path)]) + "\n"


def _features(classes: Sequence[str], has_soft_labels: bool) -> list[dict[str, Any]]:
    """Return the columns of the pictures' table in the notation of Hugging Face's ``datasets``."""
    names = {str(label): name for label, name in enumerate(classes)}
    soft_label = [{"name": "soft_label", "sequence": "float32"}] if has_soft_labels else []
    return [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": {"class_label": {"names": names}}},
        {"name": "class", "dtype": "string"},
        {"name": "expert", "dtype": "int64"},
        *soft_label,
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


def _body(together: SyntheticUnion, facts: Facts, images: int, known: CardFacts, path: str) -> list[str]:
    title, dataset = in_markdown(_title(facts)), in_markdown(facts["dataset"])
    about = (
        f"{images} images that stand in for the training images of {dataset}: networks train on them alone."
    )
    lines = [f"# {title}", "", about, ""]
    lines += ["| | |", "|---|---|", *map(_line, _rows(together, facts, images, known).items())]
    if known.scores:
        lines += ["", "## Scores", "", "Test accuracy in percent, mean ± std of students, last epoch.", ""]
        lines += ["| recipe | network | accuracy |", "|---|---|---|", *map(_line, known.scores)]
    return [*lines, "", *_usage(together, path)]


def _rows(together: SyntheticUnion, facts: Facts, images: int, known: CardFacts) -> dict[str, object]:
    """Return the rows of the card's first table."""
    stored = sum(len(member.images) for member in together.members)
    tiles = f", decoded from {stored} stored ones" if stored != images else ""
    if facts["whitening"] is None:
        mean, std = (", ".join(f"{value:.4g}" for value in facts[name]) for name in ("mean", "std"))
        normalisation = f"mean {mean}; std {std} (each channel, of pixels from 0 to 1)"
    else:
        normalisation = f"ZCA whitening {facts['whitening'][:12]}, stored in whitening.safetensors"
    return {
        "data set": f"{facts['dataset']} ({facts['data_variant']}, {facts['data_fingerprint'][:12]})",
        "images": f"{images} in {len(facts['classes'])} classes{tiles}",
        "method": ", ".join(dict.fromkeys(facts["methods"])),
        "experts": f"{len(facts['ipc'])}; stored images of each class: {', '.join(map(str, facts['ipc']))}",
        "normalisation": normalisation,
        "learned labels": "yes" if learned_labels(together) else "no",
        "learned step size": f"{facts['learned_rate']:.4g}" if facts["learned_rate"] else "none",
        "recipe": (known.recipe or {}).get("name", "not known"),
        "licence": known.license or f"not stated; that of {facts['dataset']} may apply",
        "fingerprint": facts["set_fingerprint"],
    }


def _usage(together: SyntheticUnion, path: str) -> list[str]:
    """Return how to read the folder; its two programs run there as they are."""
    columns = "`label` is the class, `class` its name, `expert` the number of the expert that made the image"
    target = "its class"
    if learned_labels(together):
        columns += ", `soft_label` the learned probabilities of all classes, in float32"
        target = "the learned probabilities of all classes"
    return [
        "## Use",
        "",
        "Both programs run inside this folder, which "
        "`hf download <user>/<name> --repo-type dataset --local-dir .` copies from the Hub.",
        "",
        f"**The set** in `expert_*.safetensors` and `.json` is {EXACT}. moe_distill and PyTorch read it:",
        "",
        "```python",
        "from moe_distill.synthetic.synthetic_set import SyntheticSet",
        "",
        f"dataset = SyntheticSet.load({_json(path)}).dataset()",
        f"image, target = dataset[0]  # the image as networks see it, and {target}",
        "```",
        "",
        f"**The pictures** in `data/train` are {exactness(together)}. They are for looking at, and for "
        "programs that read nothing else:",
        "",
        "```python",
        "from pathlib import Path",
        "from datasets import load_dataset",
        "",
        # Not ".": datasets calls the set by the last part of its path.
        'pictures = load_dataset(str(Path.cwd()), split="train")  # or "<user>/<name>" of the Hub',
        'image, label = pictures[0]["image"], pictures.features["label"].int2str(pictures[0]["label"])',
        "```",
        "",
        f"{columns}.",
    ]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(in_markdown(str(cell)) for cell in cells)} |"
