"""Stored trajectories that start exactly like another one but are longer."""

import json
from collections.abc import Mapping
from pathlib import Path

from moe_distill.store.identity import identity
from moe_distill.training.recipe import Recipe


def longer_trajectories(folder: Path, recipe: Recipe, settings: Mapping[str, object]) -> list[str]:
    """Return the keys of stored trajectories that differ from one only in having more epochs, shortest first.

    Args:
        folder: Folder with one subfolder per trajectory.
        recipe: Training recipe of the trajectory.
        settings: All settings of the trajectory (:meth:`TrajectoryPool.settings`).
    """
    # Drops and the cosine depend on the number of epochs, so a longer training has other rates on the way.
    if recipe.drops or recipe.cosine:
        return []
    target = identity(settings)
    candidates = sorted(
        (_epochs_if_alike(file, target, recipe.epochs), file.parent.name)
        for file in folder.glob("*/manifest.json")
    )
    return [key for epochs, key in candidates if epochs > recipe.epochs]


def _epochs_if_alike(manifest: Path, target: Mapping[str, object], target_epochs: int) -> int:
    """Return the epochs of a stored trajectory if it differs from ``target`` in these only; otherwise 0."""
    try:
        stored = json.loads(manifest.read_text())["identity"]
        epochs = stored["recipe"]["epochs"]
        same_epochs = {**stored, "recipe": {**stored["recipe"], "epochs": target_epochs}}
    except (OSError, ValueError, LookupError, TypeError):
        return 0  # a damaged manifest is reported when that very trajectory is loaded
    return int(epochs) if same_epochs == target else 0
