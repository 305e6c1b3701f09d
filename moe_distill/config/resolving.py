"""From a composed configuration to a checked one; and errors of what is built of it, by the names the user
typed.
"""

import contextlib
import re
import traceback
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import MISSING, DictConfig, OmegaConf

from moe_distill.config.checking import (
    check,
    check_epochs,
    check_factors,
    check_groups,
    check_heeded,
    check_shortened,
)
from moe_distill.config.overrides import check_top
from moe_distill.config.schema import Config, at_top, options
from moe_distill.errors import FieldError, InputError

# What stands for the value of another key, and for another key's where it has one.
_ELSEWHERE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)(?:,[^{}]*)?\}")
_TARGET = re.compile(r"target '([^']+)'")
_FULL_KEY = re.compile(r"^full_key: (\S+)$", re.MULTILINE)


def settled(cfg: DictConfig) -> dict[str, Any]:
    """Return what a composed configuration says, every interpolation resolved, once all of it was checked.

    Raises:
        InputError: A key or a value does not fit; it names what the user typed.
    """
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    written = _as_written(own)
    _check_root(written)
    with as_typed(cfg):
        resolved: Any = OmegaConf.to_container(own, resolve=True)
        check(resolved, Config)
        check_shortened(resolved, options("method"))
        typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
        check_heeded(resolved, dict(override.partition("=")[::2] for override in typed))
        check_epochs(resolved, options("recipe"))
        check_factors(resolved, options("model"))
    resolved["split"] = f"{resolved['ipc']}x{resolved['noe']}"  # whichever of the three was set
    tables = resolved["paths"]["tables"]
    if tables is not None and not Path(tables).is_dir():
        raise InputError("paths.tables", tables, "a folder of experiments' tables, or null")
    return resolved


def _check_root(written: Any) -> None:
    """Refuse a configuration of which something at the top was taken away, or is not set.

    Raises:
        InputError: Something is.
    """
    spine = dict.fromkeys(f.name for f in fields(Config))
    check_groups({**spine, **written}, options)
    hydra = _as_written(HydraConfig.get()) if HydraConfig.initialized() else {}
    check_top(written, str(hydra), spine, at_top())
    if lacking := next((name for name in spine if written.get(name, MISSING) == MISSING), None):
        raise InputError(lacking, written.get(lacking, "null"), "a value: nothing sets it")


def check_paths(cfg: DictConfig) -> None:
    """Refuse what is missing at the top, or folders that are none: even the record of an attempt could not be
    kept.

    Raises:
        InputError: There is such.
    """
    _check_root(_as_written(cfg))
    for name in ("runs", "store", "output"):
        if not isinstance(cfg.paths.get(name), str) or not cfg.paths[name]:
            raise InputError(f"paths.{name}", cfg.paths.get(name), "a folder")


@contextlib.contextmanager
def as_typed(cfg: DictConfig) -> Iterator[None]:
    """Have errors name the keys that the user typed, not those that their values were handed on to.

    Raises:
        InputError: In place of another, also of one that Hydra has wrapped.
    """
    written = _as_written(cfg)  # now: Hydra resolves what it builds in place
    try:
        yield
    except Exception as error:
        ours = own_error(error) or _of_a_builder(error)
        if ours is None:
            raise
        raise InputError(typed_key(ours.key, written), ours.value, ours.allowed) from error


def own_error(error: BaseException | None) -> InputError | None:
    """Return the error of ours that Hydra wrapped, by its whole path, if there is one."""
    path = ""
    while error is not None and not isinstance(error, InputError):
        path = _key_of(error) or path
        error = error.__cause__ or error.__context__  # OmegaConf leaves out which error was the cause
    return error.inside(path) if isinstance(error, FieldError) else error


def _of_a_builder(error: BaseException) -> InputError | None:
    """Return an error of a class or function of somebody else's that Hydra was to build, as one of its
    node's.
    """
    target, path = _TARGET.search(str(error)), _key_of(error)
    if target is None or not path:
        return None
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    *_, (frame, line) = traceback.walk_tb(cause.__traceback__)
    place = f"{Path(frame.f_code.co_filename).name}, line {line}"
    return InputError(f"{path}._target_", target[1], f"{type(cause).__name__}: {cause} ({place})")


def _key_of(error: BaseException) -> str:
    """Return the key of the node that Hydra failed to build, as one types it (``transforms.0``); empty
    without one.
    """
    found = _FULL_KEY.search(str(error)) if isinstance(error, InstantiationException) else None
    return re.sub(r"\[(\d+)\]", r".\1", found[1]) if found else ""


def typed_key(key: str, written: Any) -> str:
    """Return the key at which a user sets what stands at another one.

    Args:
        key: With dots, as ``plan.roster.method.lr``.
        written: The configuration in plain containers, nothing resolved: where ``plan.roster`` is
            ``${experts}`` and ``experts.method`` is ``${method}``, it is ``method.lr``.
    """
    node, names = written, key.split(".")
    for place, name in enumerate(names):
        if isinstance(node, dict):
            node = node.get(name, node.get(int(name)) if name.isdigit() else None)
        else:
            node = node[int(name)] if isinstance(node, list) and name.isdigit() else None
        elsewhere = _ELSEWHERE.fullmatch(node) if isinstance(node, str) else None
        if elsewhere and (":" not in str(node) or _at(written, elsewhere[1]) is not None):
            return typed_key(".".join([elsewhere[1], *names[place + 1 :]]), written)
    return key


def _at(written: Any, key: str) -> Any:
    for name in key.split("."):
        written = written.get(name) if isinstance(written, dict) else None
    return written


def _as_written(cfg: Any) -> Any:
    return OmegaConf.to_container(cfg, resolve=False)
