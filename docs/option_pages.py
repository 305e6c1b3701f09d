"""Pages of the configuration: every group's options and settings, the top-level values, the experiments."""

import ast
import html
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from docstrings import without_roles
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
# Parts of other yamls, which nobody chooses.
_PARTS = ("hydra", "preset", "stages", "experiment")
_ABOUT: Any = OmegaConf.load(CONF / "help.yaml")
_LONGEST = 60  # characters of a value


def option_pages(shown: list[str]) -> dict[str, str]:
    """Return the text of each page by its name.

    Args:
        shown: The experiments that have a page in the gallery.
    """
    return {"options.md": _options(), "settings.md": _settings(), "experiments.md": _experiments(shown)}


def _options() -> str:
    groups = sorted({file.parent.relative_to(CONF).as_posix() for file in CONF.glob("*/**/*.yaml")})
    parts = [_OPTIONS, *(_group(name) for name in groups if name.partition("/")[0] not in _PARTS)]
    return "\n\n".join(parts) + "\n"


_OPTIONS = """# Options

Generated from the files in `conf/`. On the command line a group is set by `group=option`, a setting of the
option by `group.setting=value`; in Python the same are keywords and `options={"group.setting": value}`.

`???` means that the value has no default here: it comes from the method's published settings for the data
set and ipc, or from the scale. `${…}` is the value of another setting. A setting that is itself an option
of another group is set by `group@place=option`, such as `model@features.model=vgg11`."""


def _group(name: str) -> str:
    default = _defaults().get(name)
    lines = [f"## {name} {{ #{name.replace('/', '')} }}", "", _sentence(_ABOUT.groups.get(name) or "")]
    if default:
        lines[-1] += f" Default: `{default}`."
    for file in sorted((CONF / name).glob("*.yaml")):
        lines += ["", f"### `{name}={file.stem}` {{ #{name.replace('/', '')}-{file.stem} }}", ""]
        if words := _first_comment(file.read_text(encoding="utf-8")):
            lines += [_escaped(words), ""]
        lines += [*_setting_table(file)]
    return "\n".join(lines)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""


@cache
def _defaults() -> dict[str, str]:
    spine: Any = OmegaConf.load(CONF / "config.yaml")
    entries = [OmegaConf.to_container(e) for e in spine.defaults if OmegaConf.is_dict(e)]
    return {str(key): str(value) for entry in entries for key, value in entry.items() if "@" not in str(key)}


def _first_comment(text: str) -> str:
    """Return the comment that a yaml begins with, as one line."""
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    words = []
    for line in lines:
        if not line.startswith("#"):
            break
        words.append(line.removeprefix("#").strip())
    return " ".join(words)


def _setting_table(file: Path) -> Iterator[str]:
    settings = dict(_flat(_merged(file)))
    comments, meanings = _comments(file), _meanings(str(settings.get("_target_", "")))
    rows = []
    for key, value in settings.items():
        if key.rpartition(".")[2] in ("_target_", "_partial_", "_convert_"):
            continue
        meaning = comments.get(key) or meanings.get(key) or ""
        rows.append(f"| `{key}` | {_code(value)} | {_escaped(meaning)} |")
    if rows:
        yield from ("| setting | default | meaning |", "|---|---|---|", *rows)


def _merged(file: Path) -> dict[str, Any]:
    """Return the settings of a yaml, over those of the yamls of its group that it begins with."""
    node: Any = OmegaConf.to_container(OmegaConf.load(file))
    merged: dict[str, Any] = {}
    for entry in node.pop("defaults", []):
        if isinstance(entry, str):
            parent = file.parent / f"{entry.partition('@')[0]}.yaml"
            if "@" in entry:  # `cross_expert@of`: an option as a part of this one
                merged[entry.partition("@")[2]] = entry.partition("@")[0]
            elif parent.is_file():
                merged.update(_merged(parent))
        else:
            ((group, option),) = entry.items()
            place = str(group).partition("@")[2].replace("_here_", "") or str(group).lstrip("/")
            if not str(group).startswith("override"):
                merged[place] = f"{str(group).partition('@')[0].lstrip('/')}={option}"
    return {**merged, **(node or {})}


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf by its dotted key; lists, and objects of code without settings, are leaves."""
    for key, value in node.items():
        if isinstance(value, dict) and set(value) - {"_target_", "_partial_", "_convert_"}:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _comments(file: Path) -> dict[str, str]:
    """Return what a yaml says beside its settings at the top."""
    return dict(re.findall(r"^(\w+):.*?\S +# (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE))


@cache
def _package() -> griffe.Module:
    return griffe.load("moe_distill", search_paths=[str(ROOT)])  # reads the source: nothing is imported


@cache
def _meanings(target: str) -> dict[str, str]:
    """Return what the docstring of a class or function says of its arguments."""
    if not target.startswith("moe_distill."):
        return {}
    try:
        documented = _package()[target.partition(".")[2]]
    except KeyError:
        return {}
    sections = documented.docstring.parse("google") if documented.docstring else []
    arguments = [s for s in sections if s.kind.value in ("parameters", "attributes")]
    return {argument.name: argument.description for section in arguments for argument in section.value}


def _escaped(words: str) -> str:
    """Return a docstring's or a comment's words as Markdown of one line."""
    words = without_roles(words).replace("``", "`")
    pieces = re.split(r"(`[^`]*`)", " ".join(words.split()))
    plain = [p if p.startswith("`") else re.sub(r"([<*_\[\]])", r"\\\1", p) for p in pieces]
    return "".join(plain).replace("|", r"\|")


def _code(value: Any) -> str:
    text = _written(value)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>" if text else ""


def _written(value: Any) -> str:
    """Return a value as a yaml has it; an object of code by the name of its class."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return str(value["_target_"]).rpartition(".")[2] if "_target_" in value else str(value)
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list) else str(value)


def _settings() -> str:
    """Return the page of the top-level values, from the docstring and the defaults of the schema."""
    tree = ast.parse((ROOT / "moe_distill" / "config" / "schema.py").read_text(encoding="utf-8"))
    (config,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config")
    fields = {n.target.id: n for n in config.body if isinstance(n, ast.AnnAssign)}  # type: ignore[union-attr]
    rows = []
    for name, meaning in _meanings("moe_distill.config.schema.Config").items():
        field = fields[name]
        kind = ast.unparse(field.annotation)
        default = ast.unparse(field.value) if field.value else ""
        default = "{}" if default.startswith("field(default_factory=dict") else default
        rows.append(f"| `{name}` | {_code(kind)} | {_code(default.strip(chr(39)))} | {_escaped(meaning)} |")
    return _SETTINGS + "\n".join(rows) + "\n"


_SETTINGS = """# Top-level settings

Generated from `moe_distill/config/schema.py`. On the command line `name=value`; in Python a keyword. A
wrong value is refused in one line that says what is allowed. [Scales](options.md#scale) and
[experiments](experiments.md) change some of these defaults.

| setting | type | default | meaning |
|---|---|---|---|
"""


def _experiments(gallery: list[str]) -> str:
    lines = [_EXPERIMENTS]
    for file in sorted((CONF / "experiment").glob("*.yaml")):
        node: Any = OmegaConf.load(file)
        claim = OmegaConf.select(node, "question.claim")
        shown = f"[page](../gallery/{file.stem}/report.html)" if file.stem in gallery else ""
        sweep = " -m" if OmegaConf.select(node, "hydra.mode") == "MULTIRUN" else ""
        command = f"`moe-distill +experiment={file.stem}{sweep}`"
        lines.append(
            f"| {_escaped(claim)} | {_escaped(_first_comment(file.read_text()))} | {command} | {shown} |"
        )
    return "\n".join(lines) + "\n"


_EXPERIMENTS = """# Experiments

Generated from `conf/experiment/`. Each asks one question, and one command answers it: add `scale=small
data.root=DIR` on a CPU, `scale=gpu` on one GPU; `scale=paper` is the published protocol.
`experiments/<name>/README.md` says what was expected and what was measured. The `-m` is implied and may be
left out.

| claim or question | what is run | command | rows |
|---|---|---|---|"""
