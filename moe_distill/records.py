"""The content-addressed store: what a stage leaves, under the hash of what decided it.

An artifact is a folder ``<root>/<kind>/<key>/`` with a ``manifest.json``; its key is the sha256 of the slice of
settings, the code schema and the fingerprints of its inputs. It is built in a temporary folder and moved into place at
once, so that a reader sees all of it or nothing; a file lock lets two processes that want it compute it once.
"""

import csv
import dataclasses
import enum
import functools
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.locks import locked

# Raised by whoever changes what an artifact means, so that older ones are no longer found.
SCHEMA = 1
_FULL_BELOW_BYTES = 1 << 20
_FULL = ("no space left", "quota exceeded")


def qualified_name(target: Any) -> str:
    """Return ``module.name`` of a class or function, looking through Hydra's deferred targets."""
    return f"{target.__module__}.{target.__qualname__}"


def describe(value: Any) -> Any:
    """Turn a built object into plain JSON that says what decides its behaviour.

    Partials and dataclasses become ``{"target": dotted name, **settings}``; dataclass fields with
    ``metadata={"describe": False}`` are left out. Objects may answer for themselves with ``describe()``.

    Raises:
        TypeError: The value has no description, so that it could not be told from another one.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, enum.Enum):
        return describe(value.value)
    if isinstance(value, functools.partial):
        settings = {**{f"arg{i}": describe(a) for i, a in enumerate(value.args)}, **describe(value.keywords)}
        return {"target": qualified_name(value.func), **settings}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return qualified_name(value)
    if hasattr(value, "describe"):
        return value.describe()
    if dataclasses.is_dataclass(value):
        told = [f.name for f in dataclasses.fields(value) if f.metadata.get("describe", True)]
        return {"target": qualified_name(type(value)), **{name: describe(getattr(value, name)) for name in told}}
    raise TypeError(f"{type(value)} has no description")


def key(settings: Any) -> str:
    """Return the 32 hexadecimal digits under which settings (any describable value) are stored."""
    text = json.dumps({"schema": SCHEMA, "settings": describe(settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def commit() -> str:
    """Return the short commit of the code, with ``+`` where it has uncommitted changes; the version outside git."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    _keep(temporary)
    temporary.replace(path)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV with the given columns, moved into place at once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    _keep(temporary)
    temporary.replace(path)


def _keep(path: Path) -> None:
    """Have a file on the disk before its name says that it is whole, even where the machine loses power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


class Store:
    """The artifacts below one folder.

    Args:
        root: The folder; made when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.found: list[str] = []
        self.made: list[str] = []

    def path(self, kind: str, settings: Any) -> Path:
        """Return where the artifact of these settings lies or would lie."""
        return self.root / kind / key(settings)

    def find(self, kind: str, settings: Any) -> Path | None:
        """Return the finished artifact's folder, or None."""
        path = self.path(kind, settings)
        return path if (path / "manifest.json").is_file() else None

    def count_made(self, kind: str) -> int:
        """Return how many artifacts of a kind this object made; a stage that made none more was found finished."""
        return sum(name.startswith(f"{kind} ") for name in self.made)

    def manifest(self, folder: Path) -> dict[str, Any]:
        """Return what was recorded beside an artifact: settings, costs, commit, time."""
        return json.loads((folder / "manifest.json").read_text())

    def work(self, kind: str, settings: Any) -> Path:
        """Return the folder for an unfinished artifact's checkpoints; it outlives a kill and goes once finished."""
        folder = self.root / "work" / f"{kind}-{key(settings)}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def obtain(self, kind: str, settings: Any, make: Callable[[Path], Mapping[str, Any] | None]) -> Path:
        """Return the artifact, made now if it is not there.

        Args:
            kind: The sort of artifact, a folder name.
            settings: What decides it (see :func:`describe`).
            make: Fills the empty folder it is given; what it returns is added to the manifest.

        Raises:
            InputError: The disk is full. What was finished stays; checkpoints in :meth:`work` stay too.
        """
        target = self.path(kind, settings)
        unfinished = self.root / "work" / f"{kind}-{target.name}"
        if found := self.find(kind, settings):
            shutil.rmtree(unfinished, ignore_errors=True)  # left by whoever was stopped once it had finished
            self.found.append(f"{kind} {found.name[:8]}")
            return found
        with guard_full_disk(self.root):
            for folder in (target.parent, self.root / "locks"):
                folder.mkdir(parents=True, exist_ok=True)
            name = f"{kind} {target.name[:8]}"
            lock = self.root / "locks" / f"{kind}-{target.name}.lock"
            with locked(lock, waiting=f"another process makes {name}; waiting for it"):
                if found := self.find(kind, settings):
                    self.found.append(name)
                    return found
                self._make(target, settings, make)
        shutil.rmtree(unfinished, ignore_errors=True)
        self.made.append(name)
        return target

    def _make(self, target: Path, settings: Any, make: Callable[[Path], Mapping[str, Any] | None]) -> None:
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        for stale in target.parent.glob(f".{target.name}.*"):  # of killed attempts: the lock is ours
            shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir()
        try:
            with guard_full_disk(self.root):  # looks before the clean-up makes room again
                more = make(temporary)
                for file in (path for path in temporary.rglob("*") if path.is_file()):
                    _keep(file)
                told = {"schema": SCHEMA, "settings": describe(settings), "commit": commit(), "finished": time.time()}
                write_json(temporary / "manifest.json", {**told, **(more or {})})
                temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


class guard_full_disk:
    """Inside the block, an error on a disk with no room left becomes one line."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, InputError) or not isinstance(error, Exception):
            return
        where = next(p for p in (self.root, *self.root.absolute().parents) if p.exists())
        said = str(error).lower()
        if any(words in said for words in _FULL) or shutil.disk_usage(where).free < _FULL_BELOW_BYTES:
            allowed = "a folder with room; the disk is full, nothing half-written was kept, the same command goes on"
            raise InputError("paths.store", self.root, allowed) from error


def merge_rows(tables: Iterable[Path], columns: Sequence[str]) -> list[dict[str, str]]:
    """Read result tables and return their rows once each (by ``config_hash``), in the order first met."""
    rows: dict[str, dict[str, str]] = {}
    for table in tables:
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["config_hash"], {c: row.get(c, "") for c in columns})
    return list(rows.values())
