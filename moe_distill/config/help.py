"""What ``--help`` prints: commands to start from, the groups and their choices, and the values set most."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from moe_distill.config.choices import defaults, groups
from moe_distill.config.folders import folders
from moe_distill.config.schema import Config

_WHAT = (
    "moe-distill distils an image data set into a few synthetic images per class with several cooperating "
    "experts, and trains networks on the result."
)
_EXAMPLES = {
    "+experiment=quickstart": "minutes on a laptop, no download",
    "method=dm split=10x2 data=cifar10 scale=small": "one run: 2 experts of 10 images per class",
    "method=dm debug=fast": "seconds: does this command work?",
    "+experiment=table1 -m scale=small": "a table of the paper, shortened",
    "-m method=idm,dm ipc=1,5 noe=1,2": "a grid of your own",
    "status +experiment=table1 scale=small": "what is done, running, failed, missing",
    "report +experiment=table1 scale=small": "its tables and page, as far as it is",
    "pipeline=import pipeline.path=FILE pipeline.to=DIR": "convert a published set",
    "pipeline=evaluate pipeline.path=DIR": "train networks on a set",
}
_MORE = {
    "moe-distill … --tree": "every setting of a command and its value, as a tree",
    "moe-distill … --cfg job": "the same as yaml",
    "moe-distill --hydra-help": "the flags: --config-dir DIR (your own yamls), --multirun, …",
    "README.md, experiments/README.md": "what the words mean, and every question asked of the paper",
}
_ABOUT = "help.yaml"
_NARROWEST = 40  # columns, where a terminal says that it has fewer or none


def help_text(arguments: Sequence[str], width: int | None = None) -> str:
    """Return the help for a command line, whose choices are marked.

    Args:
        arguments: The command line; its ``--config-dir`` and ``hydra.searchpath`` add groups and choices.
        width: Columns of the terminal; None asks for them.
    """
    columns = max(_NARROWEST, width or shutil.get_terminal_size((110, 24)).columns)
    typed = dict(a.lstrip("+").partition("=")[::2] for a in arguments if not a.startswith("-"))
    about = _about(arguments)
    examples = {f"moe-distill {example}": text for example, text in _EXAMPLES.items()}
    chosen = {**defaults(), **typed}
    parts = [
        ("", [textwrap.fill(_WHAT, columns)]),
        ("Usage", ["  moe-distill [status | report] [group=choice ...] [key=value ...] [-m]"]),
        ("Examples", _table(examples, columns)),
        (
            "Groups: group=choice; the choice in [brackets] is made already",
            _of_groups(about, chosen, columns, arguments),
        ),
        ("Values: key=value", _of_values(about, typed, columns)),
        ("More", _table(_MORE, columns)),
    ]
    titled = ([*([textwrap.fill(title, columns)] if title else []), *lines] for title, lines in parts)
    return "\n\n".join(map("\n".join, titled))


def _of_groups(
    about: Mapping[str, Any], chosen: Mapping[str, str], columns: int, arguments: Sequence[str]
) -> list[str]:
    """Return what each group is for and its choices, those without a text last."""
    known = groups(arguments)
    order = [
        *(name for name in about["groups"] if name in known),
        *(n for n in known if n not in about["groups"]),
    ]
    lines = {}
    for name in order:
        names = [f"[{choice}]" if choice == chosen.get(name) else choice for choice in known[name]]
        text = about["groups"].get(name)
        lines[name] = f"{f'{text}: ' if text else ''}{', '.join(names)}"
    return _table(lines, columns)


def _of_values(about: Mapping[str, Any], typed: Mapping[str, str], columns: int) -> list[str]:
    """Return what the values that are set most mean, and what they are."""
    texts, preset = attribute_texts(Config), {f.name: f.default for f in fields(Config)}
    lines = {}
    for name, text in about["values"].items():
        value = typed.get(name, preset.get(name))
        # A reference says nothing to a reader.
        shown = (
            ""
            if value is None or "${" in str(value) or not isinstance(value, str | int | float)
            else f" [{value}]"
        )
        lines[name] = (text or texts.get(name, "")) + shown
    return _table(lines, columns)


def attribute_texts(described: type) -> dict[str, str]:
    """Return what a class's docstring says of each attribute.

    Args:
        described: A class whose docstring has a part ``Attributes:``.

    Example:
        >>> attribute_texts(Config)["seed"]
        'Seed of the distillation.'
    """
    part = inspect.cleandoc(described.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", part, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


def _about(arguments: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """Return the texts of ``help.yaml`` in every folder of yamls."""
    texts: dict[str, dict[str, str | None]] = {"groups": {}, "values": {}}
    for file in (Path(folder) / _ABOUT for folder in folders(arguments)):
        if file.is_file():
            own: Any = OmegaConf.to_container(OmegaConf.load(file))
            for part, entries in texts.items():
                entries.update((own or {}).get(part) or {})
    return texts


def _table(entries: Mapping[str, str], columns: int) -> list[str]:
    """Return two columns, the second wrapped within what the first leaves of a line."""
    longest = max(map(len, entries), default=0)
    return [
        line
        for name, text in entries.items()
        for line in _row(name, text, min(longest, columns * 3 // 5), columns)
    ]


def _row(name: str, text: str, first: int, columns: int) -> Iterator[str]:
    indent = " " * (first + 4)
    lines = textwrap.wrap(
        text, columns, initial_indent=indent, subsequent_indent=indent, break_long_words=False
    )
    if len(name) > first or not lines:
        yield f"  {name}"
    else:
        yield f"  {name:<{first}}  {lines.pop(0).lstrip()}"
    yield from lines
