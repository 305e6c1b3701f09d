"""The content-addressed store: the results of a stage under a hash of everything that decides them.

An artifact is a folder ``<root>/<kind>/<key>/`` with a ``manifest.json``. Its key is the sha256 of the
relevant settings, the code schema and the fingerprints of its inputs. It is built in a temporary folder and
moved into place at once, so that a reader sees all of it or nothing. A file lock makes two processes that
need the same artifact compute it once.
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
from moe_distill.store.disk import atomic_path, expanded, explain_disk_errors, sync_file, sync_folder
from moe_distill.store.identity import SCHEMA, describe, identity, key
from moe_distill.store.locks import locked
from moe_distill.store.rekeying import is_marked, mark, rekey
from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import Text


@functools.cache
def commit() -> str:
    """Return the short commit of the code, with ``+`` for uncommitted changes; outside git, the version."""
    here = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        # No git, or an installed package outside of any checkout.
        from moe_distill import __version__

        return __version__
    return head.stdout.strip() + ("+" if dirty else "")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: a reader sees the old file or the new one, never a part."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text atomically: a reader sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Store:
    """The artifacts below one folder.

    Args:
        root: The folder, created when first written to. Artifacts of an earlier schema are renamed once.

    Attributes:
        made: Kind and short key of each artifact that :meth:`obtain` made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store = Store(root)
        ...     folder = store.obtain("demo", {"seed": 3}, lambda folder: {"accuracy": 0.5})
        ...     store.manifest(folder)["accuracy"], store.find("demo", {"seed": 4})
        (0.5, None)
    """

    def __init__(self, root: Path | Text) -> None:
        self.root = expanded(root, "paths.store")
        rekey(self.root)
        self.made: list[str] = []
        self._verified: set[Path] = set()  # checksums of large files are compared once a process

    @property
    def cache(self) -> Path:
        """The folder of decoded data sets."""
        return self.root / "data"

    def path(self, kind: str, settings: Any) -> Path:
        """Return the folder of the artifact of some settings, finished or not."""
        return self.root / kind / key(settings)

    def has(self, kind: str, settings: Any) -> bool:
        """Return True if there is an artifact, damaged or not: for forecasts, which must be fast."""
        return self.path(kind, settings).is_dir()

    def find(self, kind: str, settings: Any) -> Path | None:
        """Return the folder of the finished artifact of some settings, or None; see :meth:`at`."""
        return self.at(kind, key(settings))

    def at(self, kind: str, key: str) -> Path | None:
        """Return the folder of the finished artifact of a key, or None.

        Its files are compared with their checksums the first time. A damaged artifact, or a file or link in
        its place, is set aside with a printed line and counts as missing.
        """
        path = self.root / kind / key
        if not os.path.lexists(path):
            return None
        if path not in self._verified and (flaw := flaw_of(path)) is not None:
            self.set_aside(path, flaw)
            return None
        self._verified.add(path)
        return path

    def set_aside(self, path: Path, flaw: str) -> None:
        """Rename a damaged artifact, so that it is made again.

        Args:
            path: Its folder.
            flaw: What is wrong with it, for the printed line.
        """
        with explain_disk_errors({"paths.store": self.root}), self._locked(path):
            # Checked again under the lock: another process may have made the artifact again meanwhile.
            if os.path.lexists(path) and (path in self._verified or flaw_of(path) is not None):
                set_aside(path, flaw)
        self._verified.discard(path)

    def count_made(self, kind: str) -> int:
        """Return how many artifacts of a kind this object made; if none, the stage was found finished."""
        return sum(name.startswith(f"{kind} ") for name in self.made)

    def manifest(self, folder: Path) -> dict[str, Any]:
        """Return an artifact's manifest: its settings, cost, commit and time, and what its stage added."""
        return json.loads((folder / MANIFEST).read_text())

    def read_metadata(self, folder: Path, **annotations: Any) -> dict[str, Any]:
        """Return some entries of an artifact's manifest, validated.

        Args:
            folder: The artifact's.
            **annotations: The entries to return, each with the annotation that it must fit.

        Raises:
            InputError: An entry is missing or does not fit, as in a manifest without a checksum; the artifact
                is set aside, so that it is made again.
        """
        manifest = self.manifest(folder)
        for name, annotation in annotations.items():
            inner = misfit(annotation, manifest[name]) if name in manifest else ("", None, "")
            if inner is not None:
                self.set_aside(folder, f"{MANIFEST} lacks or has a wrong {name}{inner[0]}")
                allowed = "a complete artifact; it was set aside, and the same command makes it again"
                raise InputError("paths.store", folder, allowed)
        return {name: manifest[name] for name in annotations}

    def work(self, kind: str, settings: Any) -> Path:
        """Return the folder for an unfinished artifact's checkpoints, created if needed.

        It survives a killed process, and is removed once the artifact is finished.
        """
        folder = self.root / "work" / f"{kind}-{key(settings)}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def obtain(
        self,
        kind: str,
        settings: Any,
        make: Callable[[Path], Mapping[str, object] | None],
        *,
        verify: bool = True,
    ) -> Path:
        """Return the artifact's folder; make the artifact if it is missing or damaged.

        Args:
            kind: The kind of artifact, a folder name.
            settings: Everything that decides it (see :func:`describe`).
            make: Fills the empty folder that it is called with; the entries that it returns are added to the
                manifest.
            verify: Whether to compare the files with their checksums; False if only the manifest is read.

        Raises:
            InputError: The disk is full. Finished artifacts and checkpoints in :meth:`work` stay.
        """
        look = self.find if verify else self._unverified
        target = self.path(kind, settings)
        name = f"{kind} {target.name[:8]}"
        unfinished = self.root / "work" / f"{kind}-{target.name}"
        if existing := look(kind, settings):
            # A process that was stopped between finishing and cleaning up leaves its checkpoints.
            shutil.rmtree(unfinished, ignore_errors=True)
            return existing
        with explain_disk_errors({"paths.store": self.root}):
            target.parent.mkdir(parents=True, exist_ok=True)
            # Only now, as a store that is merely read need not be writable.
            if not is_marked(self.root):
                mark(self.root)
            with self._locked(target, waiting=f"another process makes {name}; waiting for it"):
                if target.is_dir():  # made by another process meanwhile
                    return target
                self._make(target, settings, make)
        shutil.rmtree(unfinished, ignore_errors=True)
        self.made.append(name)
        self._verified.add(target)
        return target

    def _unverified(self, kind: str, settings: Any) -> Path | None:
        """Return the artifact's folder, of which only the manifest is checked, or None."""
        path = self.path(kind, settings)
        return path if path.is_dir() and flaw_of_manifest(path) is None else self.find(kind, settings)

    def _locked(self, path: Path, waiting: str = "") -> contextlib.AbstractContextManager[None]:
        return locked(self.root / "locks" / f"{path.parent.name}-{path.name}.lock", waiting=waiting)

    def _make(self, target: Path, settings: Any, make: Callable[[Path], Mapping[str, object] | None]) -> None:
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        # Whatever lies there is of killed processes, as this one holds the lock.
        for stale in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir()
        try:
            # Within the try, so that a full disk is noticed before the clean-up makes room again.
            with explain_disk_errors({"paths.store": self.root}):
                more = make(temporary)
                for file in (path for path in temporary.rglob("*") if path.is_file()):
                    sync_file(file)
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
