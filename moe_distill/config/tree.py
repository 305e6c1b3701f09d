"""What ``--tree`` prints: the settings of a command line, resolved and filled in from published rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.text import Text
from rich.tree import Tree

from moe_distill.config.checking import LEFT_OUT
from moe_distill.config.composing import composed
from moe_distill.config.resolving import errors_as_typed, resolve_and_check
from moe_distill.validation.misfits import entries_of

_OUTPUT = "paths.output='${run_dir:${paths.runs},${name}}'"  # Hydra knows the folder only when it runs
_FILLED, _VALUE = "green", "cyan"
# Settings by path, each with where it comes from.
_Filled = Mapping[tuple[str, ...], tuple[Any, str]]


def tree_of(arguments: Sequence[str]) -> Tree:
    """Return the settings of a command line as a tree.

    Args:
        arguments: The command line as Hydra reads it; of a sweep, the tree is that of its first job.

    Raises:
        InputError: A key or a value does not fit.
    """
    with composed(arguments, _OUTPUT) as (_, cfg):
        written: Any = OmegaConf.to_container(
            cfg, resolve=False
        )  # first, as Hydra resolves references in place
        resolved = resolve_and_check(cfg)
        with errors_as_typed(cfg):
            roster = instantiate(cfg.experts, _convert_="all")
    tree = Tree("the settings; green: filled in for this data set, ipc and scale")
    filled = _filled(roster, resolved)
    for name, value in resolved.items():
        _add(tree, (name,), written[name], value, filled)
    return tree


def _filled(roster: Any, resolved: Mapping[str, Any]) -> _Filled:
    """Return the settings that the methods' yamls leave open."""
    from moe_distill.experts.filling import setting_at  # here, as it imports torch

    filled = {}
    for member in roster.members:
        at = ("method",) if member.where == "method" else ("experts", *member.where.split("."))
        shortened = resolved["shorten"].get(member.name) or {}
        node = resolved
        for name in at:
            node = node[name]
        for path in _open(node):
            from_scale = setting_at(shortened, path) is not None
            source = f"scale {resolved['scale_name']}" if from_scale else f"row of ipc {member.row}"
            value = setting_at(member.method, path)
            filled[(*at, *path)] = (value, "the class's default" if value is None else source)
    return filled


def _open(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of the settings that are left open."""
    if node == LEFT_OUT:
        return [path]
    return [inner for name, entry in entries_of(node) for inner in _open(entry, (*path, str(name)))]


def _add(tree: Tree, path: tuple[str, ...], written: Any, value: Any, filled: _Filled) -> None:
    """Add a setting, and those below it.

    Args:
        tree: The branch.
        path: Where the setting stands.
        written: The unresolved value; a reference to other settings is shown as such.
        value: The resolved value.
        filled: The settings that are filled in.
    """
    label = Text(f"{path[-1]}")
    if path in filled:
        filled_value, source = filled[path]
        tree.add(label.append(f": {_as_typed(filled_value)}", _FILLED).append(f"  {source}", "dim"))
    elif not isinstance(value, dict) and not any(isinstance(entry, dict) for _, entry in entries_of(value)):
        tree.add(label.append(f": {_as_typed(value)}", _VALUE))
    elif isinstance(written, str):
        tree.add(label.append(f": {written}", "dim"))
    else:
        target = value.get("_target_") if isinstance(value, dict) else None
        branch = tree.add(label.append(f": {str(target).rpartition('.')[2]}", "bold") if target else label)
        for name, entry in entries_of(value):
            if not str(name).startswith("_"):
                _add(branch, (*path, str(name)), written[name], entry, filled)


def _as_typed(value: Any) -> str:
    """Return a value as one types it: ``null``, ``true`` and ``false`` are yaml's."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
