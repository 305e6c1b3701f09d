"""What options there are: in our yamls, in those of plug-ins, and in the folders that a command names."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.objects import offered
from moe_distill.config.plugins import differs, folder_of, plugins, yamls
from moe_distill.errors import InputError

_FOLDER_FLAGS = ("--config-dir", "-cd")
_PRIMARY_FLAGS = ("--config-name", "-cn")
_SEARCHPATH = "hydra.searchpath"
_named: ContextVar[Sequence[Path]] = ContextVar("named", default=())


def conf_dir() -> str:
    """Return the folder of the yaml files: inside an installed wheel, or at the top of a checkout."""
    here = Path(__file__).resolve().parents[1]
    places = (here / "conf", here.parent / "conf")
    return str(next(place for place in places if (place / "config.yaml").is_file()))


@contextlib.contextmanager
def searching(folders: Sequence[Path]) -> Iterator[None]:
    """Take the options of more folders of yamls into account in the block.

    Args:
        folders: The folders that a command line or a Python call names.
    """
    token = _named.set(folders)
    try:
        yield
    finally:
        _named.reset(token)


def named_folders() -> Sequence[Path]:
    """Return the folders of :func:`searching`."""
    return _named.get()


def folders(arguments: Sequence[str] | None = None) -> list[Path]:
    """Return all folders of yamls, in the order in which options are looked for.

    Args:
        arguments: A command line whose folders count; None takes those of :func:`searching`.
    """
    of_plugins = [plugin.conf for plugin in plugins() if plugin.conf is not None]
    named = named_folders() if arguments is None else folders_of(arguments)
    return [Path(conf_dir()), *of_plugins, *named]


def folders_of(arguments: Sequence[str]) -> list[Path]:
    """Return the folders of yamls that a command line names, by ``--config-dir`` or ``hydra.searchpath``."""
    config_dir = _value_of(_FOLDER_FLAGS, arguments)
    folders = [Path(config_dir).absolute()] if config_dir else []
    places = [*_in_primary([Path(conf_dir()), *folders], arguments), *_on_command_line(arguments)]
    return [*folders, *filter(None, map(folder_named, places))]


def check_folders(config_dir: str | None) -> None:
    """Refuse a ``--config-dir`` with an option that is not used, as ours goes before it.

    Raises:
        InputError: There is such an option.
    """
    if config_dir is not None:
        require_new("--config-dir", Path(config_dir).absolute())


def options(group: str, arguments: Sequence[str] | None = None) -> list[str]:
    """Return the names of a group's options; an empty list if there is no such group.

    They are those of the yamls of all :func:`folders`, and the objects that a program passed.

    Args:
        group: Such as ``method`` or ``diversity/measure``.
        arguments: See :func:`folders`.
    """
    files = (file for folder in folders(arguments) for file in (folder / group).glob("*.yaml"))
    return sorted({*(file.stem for file in files), *offered.get().get(group, {})})


def is_group(name: str) -> bool:
    """Return True if there is such a group."""
    return any((folder / name).is_dir() for folder in folders())


def folder_named(place: str) -> Path | None:
    """Return the folder of an entry of ``hydra.searchpath``, or None if there is none.

    Args:
        place: Such as ``file:///my/conf`` or ``pkg://mylab.conf``.
    """
    scheme, _, path = place.rpartition("://")
    if scheme == "pkg":
        return folder_of(path.replace("/", "."))
    return Path(path) if scheme in ("", "file") else None


def require_new(key: str, folder: Path) -> None:
    """Refuse a folder with an option that ours of the same name would go before.

    Args:
        key: What names the folder.
        folder: The folder of yamls.

    Raises:
        InputError: There is such an option.
    """
    ours = Path(conf_dir())
    if hidden := [option for option in yamls(folder) if differs(option, folder, ours)]:
        allowed = f"yamls with names of their own; moe_distill has {', '.join(hidden)}, which would be used"
        raise InputError(key, folder, allowed)


def require_one(option: str) -> None:
    """Refuse an option that several places outside our yamls have, each another one.

    Args:
        option: The option with its group, such as ``method/mine``.

    Raises:
        InputError: There are several.
    """
    places = {plugin.conf: str(plugin) for plugin in plugins()}
    with_it = [folder for folder in folders()[1:] if (folder / f"{option}.yaml").is_file()]
    if any(differs(option, with_it[0], other) for other in with_it[1:]):
        group, _, name = option.rpartition("/")
        names = " and ".join(places.get(folder, str(folder)) for folder in with_it)
        raise InputError(group, name, f"an option that one place has, not {names}; rename one of them")


def _value_of(names: Sequence[str], arguments: Sequence[str]) -> str | None:
    """Return the value of a flag, which follows it, behind ``=`` or as the next argument; None without it."""
    for argument, after in itertools.zip_longest(arguments, arguments[1:]):
        flag, equals, value = argument.partition("=")
        if flag in names:
            return value if equals else after
    return None


def _on_command_line(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+") == _SEARCHPATH:
            yield from (place.strip(" '\"") for place in value.strip("[]'\"").split(","))


def _in_primary(known: Sequence[Path], arguments: Sequence[str]) -> Sequence[str]:
    """Return the search path that a user's own primary yaml sets."""
    name = _value_of(_PRIMARY_FLAGS, arguments)
    if name is None:
        return []
    for file in (folder / f"{name.removesuffix('.yaml')}.yaml" for folder in known):
        try:
            return list(OmegaConf.select(OmegaConf.load(file), _SEARCHPATH) or [])
        except (OSError, OmegaConfBaseException):
            continue
    return []
