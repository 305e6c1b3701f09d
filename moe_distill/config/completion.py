"""What a shell's Tab key offers on a command line that is being typed.

Hydra's completion composes the configuration for every group it lists, which takes seconds. Here the names of
groups and their choices are read from the folders, and only keys below a group are composed.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.arguments import as_hydra_reads, takes_path
from moe_distill.config.choices import at_top, groups
from moe_distill.config.composing import composed
from moe_distill.config.flags import all_flags
from moe_distill.config.folders import options
from moe_distill.config.schema import Config
from moe_distill.errors import InputError
from moe_distill.terminal import PROGRAM
from moe_distill.validation.misfits import annotations_of

# Hydra has none of its own: it prints that for bash, whose arrays zsh counts otherwise.
ZSH = f"""_moe_distill() {{
  local -a offered
  offered=(${{(f)"$(COMP_LINE=$LBUFFER {PROGRAM} -sc query=zsh)"}})
  compadd -S '' -- $offered
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
compdef _moe_distill {PROGRAM}"""
_TAKE_FOLDER = ("--config-dir", "-cd", "--config-path", "-cp")
# Shells expand what is offered: nothing that one of them would take as more than text.
_HARMLESS = re.compile(r"[\w@+~=:,./-]+")


def completions(line: str, commands: Sequence[str]) -> list[str]:
    """Return the words that may stand where a command line ends.

    Args:
        line: The command line up to the cursor, the program's name included.
        commands: What the first word may be instead of a setting, such as ``status``.
    """
    words = line.split()
    word = "" if line[-1:].isspace() or len(words) < 2 else words[-1]
    before = words[1 : len(words) - 1 if word else None]
    is_first = not before
    before = [typed for typed in before if typed not in commands]
    offered = {*(commands if is_first else ()), *_offered(word, before)}
    return sorted(text for text in offered if text.startswith(word) and _HARMLESS.fullmatch(text))


def _offered(word: str, before: Sequence[str]) -> Iterator[str]:
    """Yield candidates, also some that do not begin like the word."""
    if before and before[-1] in _TAKE_FOLDER:
        yield from _files(word, only_folders=True)
        return
    if word.startswith("-"):
        yield from all_flags()
        return
    key, equals, value = word.partition("=")
    if equals:
        yield from (f"{key}={text}" for text in _values(key, value, before))
        return
    prefix = word[: len(word) - len(word.lstrip("+~"))]
    if word.lstrip("+~").startswith("hydra"):
        yield from _of_hydra(word, before)
    elif "." in word:
        yield from _below(word, before)
    else:
        typed_with_plus = {name for name in at_top(before) if name.startswith("+")}
        for group in groups(before):
            if not prefix and f"+{group}" in typed_with_plus:
                yield f"+{group}="
            else:
                yield f"{prefix}{group}="
        yield from (f"{prefix}{name}{end}" for name, end in _keys_at_top())


def _keys_at_top() -> Iterator[tuple[str, str]]:
    """Yield the keys of the configuration, each with what follows it."""
    for name, annotation in annotations_of(Config).items():
        yield name, "." if annotation is Any else "="


def _values(key: str, value: str, before: Sequence[str]) -> Iterator[str]:
    """Yield values of a key; behind a comma, the next value of a sweep."""
    earlier = value[: value.rfind(",") + 1]
    name = key.lstrip("+~")
    if name.startswith("hydra/"):  # also of Hydra itself, which has no yamls in folders
        with _loaded(before) as (loader, _):
            yield from loader.get_group_options(name)
    elif known := options(name.partition("@")[0], before):
        yield from (f"{earlier}{choice}" for choice in known if choice not in earlier.split(","))
    elif takes_path(name):
        yield from (f"{earlier}{file}" for file in _files(value.removeprefix(earlier)))
    else:
        yield from (f"{earlier}{text}" for text in _settings(name, before))


def _settings(key: str, before: Sequence[str]) -> Iterator[str]:
    """Yield the value of a key, from which a user can go on; both of a switch."""
    with _loaded(before) as (_, cfg):
        value = OmegaConf.select(cfg, key)
    if isinstance(value, bool):
        yield from ("true", "false")
    elif value is not None and not OmegaConf.is_config(value):
        yield str(value)


def _below(word: str, before: Sequence[str]) -> Iterator[str]:
    """Yield the keys of the mapping that the last dot follows."""
    path = word.rpartition(".")[0]
    with _loaded(before) as (_, cfg):
        node = OmegaConf.select(cfg, path.lstrip("+~"))
    if OmegaConf.is_dict(node):
        for name in (n for n in map(str, node) if not n.startswith("_")):
            yield f"{path}.{name}{'.' if OmegaConf.is_dict(node._get_node(name)) else '='}"


def _of_hydra(word: str, before: Sequence[str]) -> Iterator[str]:
    if "." in word:
        yield from _below(word, before)
        return
    with _loaded(before) as (loader, _):
        yield from (f"hydra/{group}=" for group in loader.list_groups("hydra"))
    yield "hydra."


def _loaded(before: Sequence[str]) -> contextlib.AbstractContextManager[tuple[Any, Any]]:
    return composed(as_hydra_reads([*before]))


def _files(begun: str, only_folders: bool = False) -> Iterator[str]:
    """Yield the paths that a text begins; folders end with a slash."""
    folder, slash, _ = begun.rpartition("/")
    with contextlib.suppress(OSError, RuntimeError):
        for file in Path(f"{folder}{slash}" or ".").expanduser().iterdir():
            if file.is_dir() or not only_folders:
                yield f"{folder}{slash}{file.name}{'/' if file.is_dir() else ''}"


def answer(line: str, point: str, commands: Sequence[str]) -> str:
    """Return what a shell is told, words separated by newlines; nothing if the line cannot be understood.

    Args:
        line: ``COMP_LINE``: the command line.
        point: ``COMP_POINT``: the cursor's place in it, empty if the line ends there.
        commands: See :func:`completions`.
    """
    try:
        return "\n".join(completions(line[: int(point)] if point.isdigit() else line, commands))
    except (HydraException, InputError, OmegaConfBaseException, OSError):
        return ""  # a shell would print an error into the line that is typed
