"""Turn errors of Hydra and OmegaConf into one line: what was asked for, and what there is.

Both give the facts only in the text of their messages, which the patterns below take apart.
"""

import re
from collections.abc import Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from moe_distill.config.checking import settable_parameters
from moe_distill.config.choices import at_top
from moe_distill.config.folders import options
from moe_distill.config.schema import Config
from moe_distill.validation.misfits import annotations_of, entries_of, misfit
from moe_distill.validation.wording import no_choice, no_such

_IN_DEFAULTS = re.compile(r"Error resolving interpolation '(.+)', possible interpolation keys: (.+)")
_GONE = re.compile(r"Interpolation key '(.+)' not found")
_NO_NODE = re.compile(r"node `(.+)` is not a container")
_OF_YAML = re.compile(r"In '(.+)': ConfigKeyError raised while composing config: Key '(.+)' not in 'Config'")
_APPEND, _APPEND_GROUP = "To append to your config use +", "To append to your default list use +"
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_DELETED = re.compile(r"Could not delete(?: from config\.)? '([^']+)'")
# Groups that take the options of another one too: any network is a student, any measure a term.
_ALSO_NAMES = {"students": "model", "diversity": "diversity/measure"}
# Groups whose settings are most often typed without the group.
_WITH_LEAVES = ("method", "recipe", "model", "trainer", "features")
_OPEN = "You must specify '"


def one_line(error: BaseException) -> str:
    """Return an error of Hydra or OmegaConf as one line: what was asked for, and what there is."""
    if isinstance(error, MissingConfigException) and (line := _of_option(error)) is not None:
        return line
    # Hydra wraps errors of OmegaConf, whose text alone says what is wrong.
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(cause, InterpolationResolutionError):
        return _unresolved(cause)
    if match := _IN_DEFAULTS.match(lines[0]):
        return _removed_group(*match.groups())
    if isinstance(cause, OmegaConfBaseException):
        if lines[0].startswith("Error merging override "):
            return _of_value(lines[0].removeprefix("Error merging override "), str(cause).splitlines()[0])
        if lines[-1].startswith(_APPEND) and cause.parent_node is not None:
            return no_such_key(lines[-1].removeprefix(_APPEND), cause.parent_node)
    if (line_of_names := _of_names(lines)) is not None:
        return line_of_names
    hints = ("Config search path", "provider=", "Set the env", "See https")
    words = [line for line in lines if not line.startswith(hints)]
    if cause is not error:
        inner = " ".join(str(cause).split())
        words.append(f"({type(cause).__name__}: {inner})")
    return " ".join(words)


def _of_option(error: MissingConfigException) -> str | None:
    """Return what is wrong with the choice of a group, or None if it is not known of which."""
    group, name = _group_and_name(str(error.missing_cfg_file))
    names = [*(error.options or options(group)), *options(_ALSO_NAMES.get(group, "none"))]
    return f"{group}={name}: {no_choice(name, [*dict.fromkeys(names)], _as_typed(group))}" if names else None


def unparsable(error: BaseException) -> str | None:
    """Return an error of the yaml parser, which OmegaConf lets through, as one line, or None."""
    mark = getattr(error, "problem_mark", None)
    return mark and f"{mark.name}, line {mark.line + 1}: no yaml: {getattr(error, 'problem', '')}"


def _of_value(override: str, omegaconf_message: str) -> str:
    """Return what a key at the top accepts, or OmegaConf's message for any other key."""
    key, _, value = override.lstrip("+").partition("=")
    annotation = annotations_of(Config).get(key)
    mismatch = None if annotation is None else misfit(annotation, None if value == "null" else value)
    return f"{key}={value}: {omegaconf_message if mismatch is None else mismatch[2]}"


def _of_names(lines: list[str]) -> str | None:
    """Return what is wrong with the name of a key or a group, or None if the error is another one."""
    if match := _OF_YAML.match(" ".join(lines)):
        file, name = match.groups()
        return f"{name}: in {file}.yaml: {no_such(name, at_top())}"
    if lines[-1].startswith(_APPEND_GROUP):
        override = lines[-1].removeprefix(_APPEND_GROUP)
        return f"{override}: nothing of that group is chosen yet; did you mean +{override}?"
    if match := _DELETED.match(lines[0]):
        (key,) = filter(None, match.groups())
        deletable = [f"~{name}" for name in at_top()]
        return f"~{key}: {'no such key' if '.' in key else no_such(key, deletable)}"
    if lines[0].startswith(_OPEN):
        group = lines[0].removeprefix(_OPEN).partition("'")[0]
        return f"{group}=???: must be chosen, as these experts have no common default: {', '.join(lines[2:])}"
    return None


def _removed_group(path: str, present: str) -> str:
    """Return which group has no option, although the path of a yaml contains it.

    Args:
        path: Such as ``${method}/${data}``.
        present: The groups that have an option, separated by commas.
    """
    groups = re.findall(r"\$\{(\w+)\}", path)
    group = next((name for name in groups if name not in present.split(", ")), path)
    return f"{group}=null: one of {', '.join(options(group))}"


def _unresolved(error: InterpolationResolutionError) -> str:
    """Return what is wrong with a reference: its key was removed, is no mapping, or leads nowhere."""
    message = str(error).splitlines()[0]
    parent: Any = HydraConfig.get() if HydraConfig.initialized() else error.parent_node
    root = None if parent is None else parent._get_root()
    key, text = (error.full_key, "") if root is None else _at_fault(root, message)
    match = _GONE.search(message)
    if match and match[1].partition(".")[0] in {name.lstrip("+") for name in at_top()}:
        return f"{match[1]}=null: a value, as {key} refers to it"
    if (match := _NO_NODE.search(message)) and root is not None:
        value = OmegaConf.select(root, match[1])
        return f"{match[1]}={value}: settings by name, as {key} refers to one of them"
    return f"{key}={text}: a value, or a reference that leads to one ({message})"


def _at_fault(root: Any, message: str) -> tuple[str | None, str]:
    """Return key and text of the interpolation that fails with a message, not of one that refers to it.

    Args:
        root: The whole configuration.
        message: The first line of OmegaConf's message, which does not name the key.
    """
    texts = dict(_interpolations(OmegaConf.to_container(root, resolve=False)))
    # Hydra's own settings last: they repeat the command line.
    keys = sorted(texts, key=lambda key: key.startswith("hydra."))
    failing = [key for key in keys if _failure(root, key) == message]
    roots = [key for key in failing if {*_REFERENCE.findall(texts[key])}.isdisjoint({*failing} - {key})]
    return next(((key, texts[key]) for key in [*roots, *failing]), (None, ""))


def _interpolations(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and text of every interpolation in plain containers."""
    if isinstance(tree, str) and "${" in tree:
        yield path, tree
    for name, value in entries_of(tree):
        yield from _interpolations(value, f"{path}.{name}" if path else str(name))


def _failure(root: Any, key: str) -> str | None:
    try:
        OmegaConf.select(root, key)
    except OmegaConfBaseException as error:
        return str(error).splitlines()[0]
    return None


def _group_and_name(file: str) -> tuple[str, str]:
    """Split the path of a missing yaml into its group, the longest that exists, and the rest."""
    parts = file.split("/")
    groups = ["/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
    longest = groups[0] if groups else ""
    group = next((group for group in groups if options(group)), longest)
    return group, file.removeprefix(f"{group}/")


def no_such_key(override: str, parent: Any) -> str:
    """Return what is wrong with an override of a key that no yaml lists.

    Args:
        override: As typed.
        parent: The node that the key would belong to; the class that it names may accept the key.
    """
    key, equals, value = override.partition("=")
    path = "" if parent is None else parent._get_full_key(None) or ""
    # The first name that is not there; others may follow it. Of path={name: value}, the key names none.
    name, _, below = key.removeprefix(f"{path}.").partition(".") if path != key else ("", "", "")
    after = f"{f'.{below}' if below else ''}{equals}{value}"
    if not path:
        return f"{override}: {_of_a_group(name, parent, after) or no_such(name, at_top(), after)}"
    if not parent and (names := options(path)):  # a group that was removed
        return f"{path}=null: one of {', '.join(names)}"
    target = parent.get("_target_") if parent and OmegaConf.is_dict(parent) else None
    takes = settable_parameters(target) if isinstance(target, str) else _looked_up(path)
    if name in takes:
        return f"{override}: not in the yaml, which uses the default; type +{override}"
    listed_keys = [str(key) for key in parent or ()]
    known = [f"{path}.{key}" for key in listed_keys] + [f"+{path}.{key}" for key in {*takes} - {*listed_keys}]
    return f"{override}: {no_such(name, known, after)}"


def _of_a_group(name: str, root: Any, after: str) -> str | None:
    """Return the message for a key at the top that a group has, such as ``iterations``; None for others."""
    for group in _WITH_LEAVES:
        node: Any = root.get(group) if root and OmegaConf.is_dict(root) else None
        # Not `name in node`, which is false for settings that published rows fill.
        if OmegaConf.is_dict(node) and name in list(node):
            return f"no such key; did you mean {group}.{name}{after}?"
    return None


def _looked_up(path: str) -> list[str]:
    """Return the names that a mapping of the configuration is looked up by; none for any other key."""
    groups = {"shorten": "method", "student_epochs": "recipe"}
    return options(groups[path]) if path in groups else []


def _as_typed(group: str) -> str:
    """Return a group as Hydra wants it typed: with a plus if nothing of it is chosen yet."""
    return f"+{group}" if f"+{group}" in at_top() else group
