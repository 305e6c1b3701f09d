"""Trajectories that begin as another one does and go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moe_distill.store.identity import identity
from moe_distill.training.recipe import Recipe


def longer_ones(folder: Path, recipe: Recipe, wanted: Mapping[str, Any]) -> list[str]:
    """Return the keys of trajectories that differ from one in being longer alone, the shortest first.

    Args:
        folder: Holds the trajectories, a folder each.
        recipe: How it is trained. Where its rate changes on the way, its epochs decide all of it, and none is
            like it.
        wanted: Its settings.
    """
    if recipe.drops or recipe.cosine:
        return []
    settings = identity(wanted)
    alike = sorted(
        (_epochs_beside(file, settings), file.parent.name) for file in folder.glob("*/manifest.json")
    )
    return [name for epochs, name in alike if epochs > recipe.epochs]


def _epochs_beside(manifest: Path, wanted: Mapping[str, Any]) -> int:
    """Return the epochs of a trajectory that differs in these alone from the settings that are wanted; 0 of
    others.
    """
    try:
        settings = json.loads(manifest.read_text())["identity"]
        epochs = settings["recipe"]["epochs"]
        alike = {**settings, "recipe": {**settings["recipe"], "epochs": wanted["recipe"]["epochs"]}} == wanted
    except (OSError, ValueError, LookupError, TypeError):
        return 0  # damaged: whoever asks for this very one is told so
    return int(epochs) if alike else 0
