"""The content-addressed store: what a stage leaves, under the hash of what decided it.

An artifact is a folder ``<root>/<kind>/<key>/`` with a ``manifest.json``; its key is the sha256 of the slice
of settings, the code schema and the fingerprints of its inputs. It is built in a temporary folder and moved
into place at once, so that a reader sees all of it or nothing; a file lock lets two processes that want it
compute it once.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.store.damage import (
    MANIFEST,
    checksums,
    content_checksum,
    flaw_of,
    flaw_of_manifest,
    set_aside,
)
from moe_distill.store.disk import expanded, guard_disk, in_place_of, keep, sync_folder
from moe_distill.store.identity import SCHEMA, describe, identity, key
from moe_distill.store.locks import locked
from moe_distill.store.rekeying import is_marked, mark, rekey
from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import Text


@functools.cache
def commit() -> str:
    """Return the short commit of the code, with ``+`` where it has uncommitted changes; the version outside
    git.
    """
    here = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        from moe_distill import __version__

        return __version__
    return head.stdout.strip() + ("+" if dirty else "")


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text so that a reader sees the old file or the new one, never a part."""
    with in_place_of(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Store:
    """The artifacts below one folder.

    Args:
        root: The folder; made when first written to. What an earlier version made there is renamed once.
    """

    def __init__(self, root: Path | Text) -> None:
        self.root = expanded(root, "paths.store")
        rekey(self.root)
        self.found: list[str] = []
        self.made: list[str] = []
        self._whole: set[Path] = set()

    @property
    def cache(self) -> Path:
        """Folder of decoded data sets."""
        return self.root / "data"

    def path(self, kind: str, settings: Any) -> Path:
        """Return where the artifact of these settings lies or would lie."""
        return self.root / kind / key(settings)

    def has(self, kind: str, settings: Any) -> bool:
        """Say whether there is an artifact, whole or not: a look that costs nothing, for forecasts."""
        return self.path(kind, settings).is_dir()

    def find(self, kind: str, settings: Any) -> Path | None:
        """Return the finished artifact's folder, or None; see :meth:`at`."""
        return self.at(kind, key(settings))

    def at(self, kind: str, key: str) -> Path | None:
        """Return the folder of the finished artifact of a key, or None.

        Its files are compared with their checksums when it is first asked for. One that is damaged is set
        aside, which is told in a line, and counts as missing; so does a file or link that lies in its place.
        """
        path = self.root / kind / key
        if not os.path.lexists(path):
            return None
        if path not in self._whole and (flaw := flaw_of(path)) is not None:
            self.set_aside(path, flaw)
            return None
        self._whole.add(path)
        return path

    def set_aside(self, path: Path, flaw: str) -> None:
        """Give a damaged artifact another name, so that it is made again; one made again meanwhile stays."""
        with guard_disk({"paths.store": self.root}), self._locked(path):
            if os.path.lexists(path) and (path in self._whole or flaw_of(path) is not None):
                set_aside(path, flaw)
        self._whole.discard(path)

    def count_made(self, kind: str) -> int:
        """Return how many artifacts of a kind this object made; a stage that made none more was found
        finished.
        """
        return sum(name.startswith(f"{kind} ") for name in self.made)

    def manifest(self, folder: Path) -> dict[str, Any]:
        """Return what was recorded beside an artifact: settings, costs, commit, time."""
        return json.loads((folder / MANIFEST).read_text())

    def noted(self, folder: Path, **wanted: Any) -> dict[str, Any]:
        """Return some of what was recorded beside an artifact.

        Args:
            folder: The artifact's.
            **wanted: What each entry is to be, as annotations.

        Raises:
            InputError: One is missing or is something else, in a manifest that no checksum vouches for: the
                artifact is set aside, so that it is made again.
        """
        manifest = self.manifest(folder)
        for name, annotation in wanted.items():
            inner = misfit(annotation, manifest[name]) if name in manifest else ("", None, "")
            if inner is not None:
                self.set_aside(folder, f"{MANIFEST} does not tell {name}{inner[0]}")
                raise InputError(
                    "paths.store", folder, "what this package made; set aside, the same command makes it"
                )
        return {name: manifest[name] for name in wanted}

    def work(self, kind: str, settings: Any) -> Path:
        """Return the folder for an unfinished artifact's checkpoints; it outlives a kill and goes once
        finished.
        """
        folder = self.root / "work" / f"{kind}-{key(settings)}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def obtain(
        self,
        kind: str,
        settings: Any,
        make: Callable[[Path], Mapping[str, Any] | None],
        *,
        verify: bool = True,
    ) -> Path:
        """Return the artifact, made now if it is not there or damaged.

        Args:
            kind: The sort of artifact, a folder name.
            settings: What decides it (see :func:`describe`).
            make: Fills the empty folder it is given; what it returns is added to the manifest.
            verify: Whether its files are compared with their checksums; not where its manifest is all that is
                read.

        Raises:
            InputError: The disk is full. What was finished stays; checkpoints in :meth:`work` stay too.
        """
        look = self.find if verify else self._unverified
        target = self.path(kind, settings)
        name = f"{kind} {target.name[:8]}"
        unfinished = self.root / "work" / f"{kind}-{target.name}"
        if found := look(kind, settings):
            shutil.rmtree(unfinished, ignore_errors=True)  # left by whoever was stopped once it had finished
            self.found.append(name)
            return found
        with guard_disk({"paths.store": self.root}):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not is_marked(self.root):  # it held nothing of an earlier version when it was opened
                mark(self.root)
            with self._locked(target, waiting=f"another process makes {name}; waiting for it"):
                if target.is_dir():  # made by another process meanwhile
                    self.found.append(name)
                    return target
                self._make(target, settings, make)
        shutil.rmtree(unfinished, ignore_errors=True)
        self.made.append(name)
        self._whole.add(target)
        return target

    def _unverified(self, kind: str, settings: Any) -> Path | None:
        path = self.path(kind, settings)
        return path if path.is_dir() and flaw_of_manifest(path) is None else self.find(kind, settings)

    def _locked(self, path: Path, waiting: str = "") -> contextlib.AbstractContextManager[None]:
        return locked(self.root / "locks" / f"{path.parent.name}-{path.name}.lock", waiting=waiting)

    def _make(self, target: Path, settings: Any, make: Callable[[Path], Mapping[str, Any] | None]) -> None:
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        for stale in target.parent.glob(f".{target.name}.*"):  # of killed attempts: the lock is ours
            shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir()
        try:
            with guard_disk({"paths.store": self.root}):  # looks before the clean-up makes room again
                more = make(temporary)
                for file in (path for path in temporary.rglob("*") if path.is_file()):
                    keep(file)
                manifest = {
                    "schema": SCHEMA,
                    "identity": identity(settings),
                    "settings": describe(settings),
                    "commit": commit(),
                    "finished": time.time(),
                    **(more or {}),
                    "files": checksums(temporary),
                }
                write_json(temporary / MANIFEST, {**manifest, "checksum": content_checksum(manifest)})
                temporary.replace(target)
                sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
