"""Artifacts of schema 1, whose keys held module paths and every setting, under the keys that they have now.

A store that an older version made is put in order once, when it is first opened. To be dropped with the next
schema.
"""

import functools
import hashlib
import importlib.resources
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moe_distill.store.damage import MANIFEST, Unreadable, content_checksum, require_readable
from moe_distill.store.disk import guard_disk, in_place_of
from moe_distill.store.identity import HOME, SCHEMA, as_json, defaults_of, key, name_of
from moe_distill.store.locks import locked
from moe_distill.terminal import say

FORMER = 1
MARKER = "schema"
# Two classes had the name of another one.
_RENAMED = {f"{HOME}.data.partition.Random": "RandomParts", f"{HOME}.data.partition.KMeans": "KMeansParts"}
# What these made before their revision 1 is wrong, and is not to be found; DM's only where batch norm was
# passed.
_REVISED = {"IDC", "IDM", "MTT", "FTD", "DATM"}
_REVISED_WITH_BATCH_NORM = {"DM"}
_WITHOUT_BATCH_NORM = ("instance", "none", "group", "layer")
_PLAIN_NETWORKS = {
    "ConvNet",
    "AlexNet",
    "VGG11",
    "ResNet10",
    "ResNet18",
    "MLP",
}  # instance norm unless they say else


class NotFoundAgain(Exception):
    """What has no key now: it was revised, or its class is gone."""


@functools.cache
def _former_defaults() -> Mapping[str, Mapping[str, str]]:
    """Return the defaults that this package's classes had in schema 1, as texts, by class and setting."""
    text = importlib.resources.files(__package__).joinpath("schema_1_defaults.json").read_text()
    return {name: {k: as_json(v) for k, v in settings.items()} for name, settings in json.loads(text).items()}


def converted(settings: Any) -> Any:
    """Return what identifies an artifact now.

    Args:
        settings: What described it in schema 1.

    Raises:
        NotFoundAgain: Nothing does.
    """
    if isinstance(settings, float) and settings.is_integer():
        return int(settings)
    if isinstance(settings, list):
        return [converted(value) for value in settings]
    if not isinstance(settings, dict):
        return (
            _renamed(settings) if isinstance(settings, str) and settings.startswith(f"{HOME}.") else settings
        )
    if "target" in settings:
        return _built(settings)
    if isinstance(settings.get("roster"), list):
        members = [_member(member, settings["network"]) for member in settings["roster"]]
        others = {
            name: converted(value)
            for name, value in settings.items()
            if name != "roster" and value is not None
        }
        return {**others, "roster": members}
    return {name: converted(value) for name, value in settings.items()}


def _built(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a class or function with settings, less those that are its defaults."""
    target = described["target"]
    if target.partition(".")[0] == HOME:
        name = _renamed(target)
        usual = _former_defaults().get(name, {})
    else:
        found = _located(target)
        name, usual = name_of(found), defaults_of(found)
    own = {k: converted(v) for k, v in described.items() if k != "target"}
    return {"_target_": name, **{k: v for k, v in own.items() if k not in usual or as_json(v) != usual[k]}}


def _located(target: str) -> Any:
    """Return a class or function of another library by its dotted name.

    Raises:
        NotFoundAgain: There is none.
    """
    module, _, name = target.rpartition(".")
    try:
        return pkgutil.resolve_name(f"{module}:{name}")
    except (ImportError, AttributeError, ValueError) as error:
        raise NotFoundAgain(target) from error


def _renamed(target: str) -> str:
    return _RENAMED.get(target, target.rpartition(".")[2])


def _member(member: Mapping[str, Any], of_all: Mapping[str, Any]) -> dict[str, Any]:
    """Return an expert, whose revision is none now.

    Raises:
        NotFoundAgain: It was made before it was revised.
    """
    name = _renamed(member["method"]["target"])
    network = member.get("network", of_all)
    revised = name in _REVISED or (name in _REVISED_WITH_BATCH_NORM and not _is_without_batch_norm(network))
    if member.get("revision", 0) != revised:
        raise NotFoundAgain(name)
    return {"_target_": "ExpertSpec", **{k: converted(v) for k, v in member.items() if k != "revision"}}


def _is_without_batch_norm(network: Mapping[str, Any]) -> bool:
    is_plain = _renamed(network["target"]) in _PLAIN_NETWORKS
    return is_plain and network.get("norm", "instance") in _WITHOUT_BATCH_NORM


def rekey(root: Path) -> None:
    """Give the artifacts of a store the keys that they have now, unless that was done before.

    A store that holds none of them need not be writable.

    Raises:
        InputError: There are some, and the store cannot be written to.
    """
    if is_marked(root):
        return
    former = [path.parent for path in root.glob(f"*/*/{MANIFEST}") if _manifest_of(path.parent) is not None]
    if not former:
        return
    with guard_disk({"paths.store": root}), locked(root / "locks" / "schema.lock"):
        if is_marked(root):
            return
        moved = sum(_moved(folder) for folder in former)
        mark(root)
    stay = len(former) - moved
    rest = f"; {stay} stay as they are, as what made them was revised" if stay else ""
    say(f"{root}: {moved} artifacts of an earlier version have their new names{rest}")


def is_marked(root: Path) -> bool:
    """Say whether a store is known to hold nothing under keys of an earlier version."""
    try:
        return int((root / MARKER).read_text()) == SCHEMA
    except (OSError, ValueError):
        return False


def mark(root: Path) -> None:
    """Note that a store holds nothing under keys of an earlier version; were it cut, the store would be read
    again.
    """
    (root / MARKER).write_text(f"{SCHEMA}\n")


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an artifact of schema 1; None of any other, and of one that is damaged."""
    try:
        require_readable(folder / MANIFEST)  # whoever opens a pipe waits
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        text = json.dumps({"schema": FORMER, "settings": manifest["settings"]}, sort_keys=True)
        if manifest["schema"] != FORMER or hashlib.sha256(text.encode()).hexdigest()[:32] != folder.name:
            return None
        whole = "files" not in manifest or manifest["checksum"] == content_checksum(manifest)
    except (OSError, LookupError, TypeError, *Unreadable):
        return None
    return manifest if whole else None


def _moved(folder: Path) -> bool:
    """Give an artifact of schema 1 its new key; say whether it has one."""
    manifest = _manifest_of(folder)
    if manifest is None:  # another process was faster
        return False
    try:
        identity = converted(manifest["settings"])
    except (
        NotFoundAgain,
        LookupError,
        AttributeError,
        TypeError,
    ):  # the latter of shapes that schema 1 had at first
        return False
    target = folder.with_name(key(identity))
    if target.exists():
        return False
    manifest = {**manifest, "schema": SCHEMA, "identity": identity}
    with in_place_of(folder / MANIFEST) as temporary:
        checksum = {"checksum": content_checksum(manifest)} if "files" in manifest else {}
        temporary.write_text(
            json.dumps({**manifest, **checksum}, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
    folder.rename(target)
    return True
