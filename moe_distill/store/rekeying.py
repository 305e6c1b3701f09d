"""Rename the artifacts of stores made with schema 1, whose keys held module paths and every setting.

This happens once, when such a store is first opened. To be dropped with the next schema.
"""

import functools
import importlib.resources
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moe_distill.store.damage import MANIFEST, Unreadable, content_checksum, require_readable
from moe_distill.store.disk import atomic_path, explain_disk_errors
from moe_distill.store.identity import HOME, SCHEMA, as_json, defaults_of, key, key_of, name_of
from moe_distill.store.locks import locked
from moe_distill.terminal import say

FORMER = 1
MARKER = "schema"
# Their names in keys would have been those of other classes.
_RENAMED = {f"{HOME}.data.partition.Random": "RandomParts", f"{HOME}.data.partition.KMeans": "KMeansParts"}
# Methods whose artifacts from before their revision 1 are wrong and must not be found again; those of DM only
# with batch norm.
_REVISED = {"IDC", "IDM", "MTT", "FTD", "DATM"}
_REVISED_WITH_BATCH_NORM = {"DM"}
_WITHOUT_BATCH_NORM = ("instance", "none", "group", "layer")
# Networks with instance norm unless their settings name another one.
_PLAIN_NETWORKS = {"ConvNet", "AlexNet", "VGG11", "ResNet10", "ResNet18", "MLP"}


class NotFoundAgain(Exception):
    """The artifact has no key in the current schema: its method was revised, or its class is gone."""


@functools.cache
def _former_defaults() -> Mapping[str, Mapping[str, str]]:
    """Return the defaults of this package's classes in schema 1, as JSON texts by class and setting."""
    text = importlib.resources.files(__package__).joinpath("schema_1_defaults.json").read_text()
    return {name: {k: as_json(v) for k, v in settings.items()} for name, settings in json.loads(text).items()}


def converted(settings: Any) -> Any:
    """Return the current description of an artifact.

    Args:
        settings: Its description in schema 1, or a part of it.

    Raises:
        NotFoundAgain: The artifact has no key in the current schema.
    """
    if isinstance(settings, float) and settings.is_integer():
        return int(settings)
    if isinstance(settings, list):
        return [converted(value) for value in settings]
    if isinstance(settings, str) and settings.startswith(f"{HOME}."):
        return _renamed(settings)
    if not isinstance(settings, dict):
        return settings
    if "target" in settings:
        return _without_defaults(settings)
    if isinstance(settings.get("roster"), list):
        members = [_member(member, settings["network"]) for member in settings["roster"]]
        # Absent settings were null in schema 1.
        present = {name: value for name, value in settings.items() if name != "roster" and value is not None}
        return {**{name: converted(value) for name, value in present.items()}, "roster": members}
    return {name: converted(value) for name, value in settings.items()}


def _without_defaults(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the current description of a class or function with its settings, except defaults."""
    target = described["target"]
    if target.partition(".")[0] == HOME:
        name = _renamed(target)
        # Those of schema 1: a default that has changed since is a setting of the old artifact.
        usual = _former_defaults().get(name, {})
    else:
        imported = _imported(target)
        name, usual = name_of(imported), defaults_of(imported)
    settings = {k: converted(v) for k, v in described.items() if k != "target"}
    changed = {k: v for k, v in settings.items() if k not in usual or as_json(v) != usual[k]}
    return {"_target_": name, **changed}


def _imported(target: str) -> Any:
    """Return a class or function of another library by its dotted name.

    Raises:
        NotFoundAgain: It cannot be imported.
    """
    module, _, name = target.rpartition(".")
    try:
        return pkgutil.resolve_name(f"{module}:{name}")
    except Exception as error:  # importing a package runs its code, which may raise anything
        raise NotFoundAgain(target) from error


def _renamed(target: str) -> str:
    return _RENAMED.get(target, target.rpartition(".")[2])


def _member(member: Mapping[str, Any], shared_network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the current description of an expert, in which revisions start from none again.

    Args:
        member: Its description in schema 1.
        shared_network: The description of the network of experts that have none themselves.

    Raises:
        NotFoundAgain: The expert was made before its method was revised.
    """
    name = _renamed(member["method"]["target"])
    network = member.get("network", shared_network)
    revised = name in _REVISED or (name in _REVISED_WITH_BATCH_NORM and not _is_without_batch_norm(network))
    if member.get("revision", 0) != revised:
        raise NotFoundAgain(name)
    return {"_target_": "ExpertSpec", **{k: converted(v) for k, v in member.items() if k != "revision"}}


def _is_without_batch_norm(network: Mapping[str, Any]) -> bool:
    is_plain = _renamed(network["target"]) in _PLAIN_NETWORKS
    return is_plain and network.get("norm", "instance") in _WITHOUT_BATCH_NORM


def rekey(root: Path) -> None:
    """Rename a store's artifacts of schema 1 to their current keys, unless that was done before.

    A store without such artifacts need not be writable.

    Raises:
        InputError: There are some, and the store cannot be written to.
    """
    if is_marked(root):  # spares every later start a look at all manifests
        return
    former = [path.parent for path in root.glob(f"*/*/{MANIFEST}") if _manifest_of(path.parent) is not None]
    if not former:
        return
    with explain_disk_errors({"paths.store": root}), locked(root / "locks" / "schema.lock"):
        if is_marked(root):  # by another process, while this one waited for the lock
            return
        moved = sum(_moved(folder) for folder in former)
        mark(root)
    stay = len(former) - moved
    rest = f"; {stay} stay as they are, as what made them was revised" if stay else ""
    say(f"{root}: {moved} artifacts of an earlier version have their new names{rest}")


def is_marked(root: Path) -> bool:
    """Return True if a store is known to hold no artifacts that :func:`rekey` can still rename."""
    try:
        return int((root / MARKER).read_text()) >= SCHEMA  # a later version may have marked it
    except (OSError, ValueError):
        return False


def mark(root: Path) -> None:
    """Record that a store holds no artifacts that :func:`rekey` can still rename."""
    # Not atomically: a file that was cut is no number, and the store is merely searched once more.
    (root / MARKER).write_text(f"{SCHEMA}\n")


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an undamaged artifact of schema 1; None for anything else."""
    try:
        require_readable(folder / MANIFEST)  # reading a pipe would block
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["schema"] != FORMER or key_of(manifest["settings"], FORMER) != folder.name:
            return None
        whole = "files" not in manifest or manifest["checksum"] == content_checksum(manifest)
    except (OSError, LookupError, TypeError, *Unreadable):
        return None
    return manifest if whole else None


def _moved(folder: Path) -> bool:
    """Rename an artifact of schema 1 to its current key; return True if it has one."""
    manifest = _manifest_of(folder)
    if manifest is None:  # another process was faster
        return False
    try:
        identity = converted(manifest["settings"])
    except (NotFoundAgain, LookupError, AttributeError, TypeError):
        # Not only revised methods: early descriptions of schema 1 have other shapes.
        return False
    target = folder.with_name(key(identity))
    if target.exists():
        return False
    manifest = {**manifest, "schema": SCHEMA, "identity": identity}
    if "files" in manifest:
        manifest["checksum"] = content_checksum(manifest)
    # The manifest first: a folder whose rename is lost has one that does not fit its name, and is made again.
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    folder.rename(target)
    return True
