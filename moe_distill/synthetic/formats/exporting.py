"""Export of a set to a new folder, in any layout."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from moe_distill.synthetic.formats.card import CardFacts, write_hub_folder
from moe_distill.synthetic.formats.ddranking import write_ddranking
from moe_distill.synthetic.formats.placing import new_folder
from moe_distill.synthetic.formats.writing import ExportReport, copy_set, write_pictures
from moe_distill.synthetic.synthetic_union import SyntheticUnion
from moe_distill.validation.values import checked

Layout = Literal["safetensors", "folder", "ddranking", "huggingface"]
Writer = Callable[[SyntheticUnion, Path, Path], ExportReport]


@checked
def export(sets: SyntheticUnion, to: Path, layout: Layout, facts: CardFacts | None = None) -> ExportReport:
    """Write a set to a new folder and return how exact its files are.

    Args:
        sets: The set.
        to: The folder, which must not exist.
        layout: ``safetensors``, the set's own files; ``folder`` of pictures by class; ``ddranking``; or
            ``huggingface``, with a card.
        facts: What a card says beyond the set's files.

    Raises:
        InputError: The folder exists or cannot be written.
    """
    writers: Mapping[Layout, Writer] = {
        "safetensors": copy_set,
        "folder": write_pictures,
        "ddranking": write_ddranking,
        "huggingface": lambda sets, source, folder: write_hub_folder(
            sets, source, folder, facts or CardFacts()
        ),
    }
    with new_folder(to) as folder, _files_of(sets) as source:
        return writers[layout](sets, source, folder)


@contextlib.contextmanager
def _files_of(sets: SyntheticUnion) -> Iterator[Path]:
    """Yield the set's files: those that it was read from, or new ones if it was made or changed in memory."""
    if sets.path is not None and sets.is_as_read:
        yield sets.path
        return
    with tempfile.TemporaryDirectory() as folder:
        sets.save(folder)
        yield Path(folder)
