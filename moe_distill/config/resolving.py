"""Resolve and check a composed configuration, and report its errors by the keys that the user typed."""

import contextlib
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import MISSING, DictConfig, OmegaConf

from moe_distill.config.checking import check, check_groups
from moe_distill.config.choices import at_top
from moe_distill.config.folders import options
from moe_distill.config.looked_up import (
    check_epochs,
    check_factors,
    check_numerics,
    check_shortened,
    check_shortened_has_effect,
    methods_of,
)
from moe_distill.config.overrides import check_top
from moe_distill.config.schema import Config
from moe_distill.errors import FieldError, InputError

# A value that is nothing but a reference: ${key}, or ${oc.select:key,default}.
_ELSEWHERE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)(?:,[^{}]*)?\}")
_TARGET = re.compile(r"target '([^']+)'")
_FULL_KEY = re.compile(r"^full_key: (\S+)$", re.MULTILINE)


def resolve_and_check(
    cfg: DictConfig, choices: Mapping[str, str | None] = MappingProxyType({})
) -> dict[str, Any]:
    """Return a composed configuration as plain containers, resolved and checked.

    Args:
        cfg: The configuration.
        choices: The option of each group, where no job of Hydra's knows it.

    Raises:
        InputError: A key or a value does not fit; the message names what the user typed.
    """
    without_hydra = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    _check_root(_as_written(without_hydra), choices)
    with errors_as_typed(cfg):
        resolved: Any = OmegaConf.to_container(without_hydra, resolve=True)
        check(resolved, Config)
        methods = [*methods_of(resolved)]
        check_shortened(resolved["shorten"], {*options("method"), *(name for name, _ in methods)})
        typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
        check_shortened_has_effect(methods, dict(override.partition("=")[::2] for override in typed))
        check_numerics(resolved)
        recipe = resolved["recipe"]
        check_epochs(resolved["student_epochs"], {recipe["name"], *options("recipe")})
        check_factors(recipe.get("lr_factors") or {}, {*resolved["students"], *options("model")})
    resolved["split"] = f"{resolved['ipc']}x{resolved['noe']}"  # whichever of the three was set
    tables = resolved["paths"]["tables"]
    if tables is not None and not Path(tables).is_dir():
        raise InputError("paths.tables", tables, "a folder of experiments' tables, or null")
    return resolved


def _check_root(written: Any, choices: Mapping[str, str | None]) -> None:
    """Refuse a configuration in which something at the top is unknown, was removed or has no value.

    Raises:
        InputError: There is such a key.
    """
    # Keys that were removed by ~key count as null.
    spine = dict.fromkeys(f.name for f in fields(Config))
    hydra = _as_written(HydraConfig.get()) if HydraConfig.initialized() else {}
    chosen = hydra["runtime"]["choices"] if hydra else choices
    check_groups({**spine, **written}, options, {n: c for n, c in chosen.items() if c is not None})
    check_top(written, str(hydra), spine, at_top())
    if lacking := next((name for name in spine if written.get(name, MISSING) == MISSING), None):
        raise InputError(lacking, written.get(lacking, "null"), "a value: nothing sets it")


def check_paths(cfg: DictConfig) -> None:
    """Refuse missing keys at the top and empty folders, before the record of the attempt is written there.

    Raises:
        InputError: There is such a key.
    """
    _check_root(_as_written(cfg), {})
    for name in ("runs", "store", "output"):
        if not isinstance(cfg.paths.get(name), str) or not cfg.paths[name]:
            raise InputError(f"paths.{name}", cfg.paths.get(name), "a folder")


@contextlib.contextmanager
def errors_as_typed(cfg: DictConfig) -> Iterator[None]:
    """Make errors raised in the block name the keys that the user typed instead of those that refer to them.

    Raises:
        InputError: In place of the error, also of one that Hydra has wrapped.
    """
    written = _as_written(cfg)  # before the block, in which Hydra resolves references in place
    try:
        yield
    except Exception as error:
        input_error = input_error_of(error) or _of_a_builder(error)
        if input_error is None:
            raise
        raise input_error.with_keys(lambda key: typed_key(key, written)) from error


def input_error_of(error: BaseException | None) -> InputError | None:
    """Return the InputError among an error and its causes, with its full path, or None."""
    path = ""
    while error is not None and not isinstance(error, InputError):
        path = _key_of(error) or path
        error = error.__cause__ or error.__context__  # OmegaConf raises without "from"
    return error.inside(path) if isinstance(error, FieldError) else error


def _of_a_builder(error: BaseException) -> InputError | None:
    """Return an error of Hydra's while it built another library's object as an InputError of its node."""
    target = _TARGET.search(str(error))
    path = _key_of(error)
    if target is None or not path:
        return None
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    *_, (frame, line) = traceback.walk_tb(cause.__traceback__)  # the innermost frame
    place = f"{Path(frame.f_code.co_filename).name}, line {line}"
    return InputError(f"{path}._target_", target[1], f"{type(cause).__name__}: {cause} ({place})")


def _key_of(error: BaseException) -> str:
    """Return the key of the node that Hydra failed to build, as one types it, or an empty text."""
    match = _FULL_KEY.search(str(error)) if isinstance(error, InstantiationException) else None
    return re.sub(r"\[(\d+)\]", r".\1", match[1]) if match else ""  # transforms[0] is typed transforms.0


def typed_key(key: str, written: Any) -> str:
    """Return the key that a user types to set the value at a key that refers to others.

    Args:
        key: With dots, such as ``plan.method.lr``.
        written: The unresolved configuration in plain containers.

    Example:
        >>> typed_key("plan.method.lr", {"plan": {"method": "${method}"}, "method": {"lr": 0.1}})
        'method.lr'
    """
    node = written
    names = key.split(".")
    for place, name in enumerate(names):
        if isinstance(node, dict):  # with integers as keys too, as in rows by images per class
            node = node.get(name, node.get(int(name)) if name.isdigit() else None)
        else:
            node = node[int(name)] if isinstance(node, list) and name.isdigit() else None
        elsewhere = _ELSEWHERE.fullmatch(node) if isinstance(node, str) else None
        # An oc.select whose key is not set has its default: that stands here.
        if elsewhere and (":" not in str(node) or _at(written, elsewhere[1]) is not None):
            return typed_key(".".join([elsewhere[1], *names[place + 1 :]]), written)
    return key


def _at(written: Any, key: str) -> Any:
    for name in key.split("."):
        written = written.get(name) if isinstance(written, dict) else None
    return written


def _as_written(cfg: Any) -> Any:
    return OmegaConf.to_container(cfg, resolve=False)
