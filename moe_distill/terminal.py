"""What a run prints: its command, text without markup or wrapping, tables, errors below any progress bar."""

import contextlib
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from traceback import TracebackException
from typing import TYPE_CHECKING, Any

from moe_distill.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment

# The command that pip installs; `python -m moe_distill.run` is the same.
PROGRAM = "moe-distill"
# Libraries whose frames are left out of tracebacks.
_FRAMEWORKS = ("hydra", "lightning_fabric", "pytorch_lightning")
_quiet: ContextVar[dict[str, bool] | None] = ContextVar("quiet", default=None)
_UNLIMITED_WIDTH = 10_000  # columns, where output goes to a file: rich would wrap at 80


@contextlib.contextmanager
def quiet(progress: bool) -> Iterator[None]:
    """Print nothing in the block: its texts go to the logger ``moe_distill``, at the level INFO.

    Args:
        progress: Whether progress bars are shown all the same.
    """
    token = _quiet.set({"progress": progress})
    try:
        yield
    finally:
        _quiet.reset(token)


def say(text: str, style: str | None = None) -> None:
    """Print a text unwrapped; brackets in paths and names are not read as rich's markup."""
    if _quiet.get() is not None:
        logging.getLogger("moe_distill").info(text)
        return
    _console().print(printable(text), style=style, soft_wrap=True)


def hides_progress() -> bool:
    """Return True where :func:`quiet` hides progress bars too."""
    settings = _quiet.get()
    return settings is not None and not settings["progress"]


def say_at_once(text: str) -> None:
    """Print a text as :func:`say` does, without the time that rich needs for its import."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that runs this program, to be pasted into a shell.

    Args:
        arguments: Its arguments.

    Example:
        >>> command_line(["method=dm", "name=a b"])
        "moe-distill method=dm 'name=a b'"
    """
    return shlex.join([PROGRAM, *arguments])


def show(table: Any) -> None:
    """Print a rich table or tree; where the output is no terminal it is as wide as it needs to be."""
    if _quiet.get() is not None:
        logging.getLogger("moe_distill").info(rendered(table))
        return
    _print(_console(), table)


def rendered(table: Any) -> str:
    """Return what :func:`show` prints."""
    console = _console()
    with console.capture() as captured:
        _print(console, table)
    return captured.get()


def _print(console: "Console", table: Any) -> None:
    # Printed before the table, as rich would wrap a title at the table's width.
    title = getattr(table, "title", None)
    if title is not None:
        table.title = None
        console.print(_Harmless(title), style="italic", soft_wrap=True)
    console.print(_Harmless(table))
    if title is not None:
        table.title = title


class _Harmless:
    """Wraps what rich prints so that its texts are :func:`printable`."""

    def __init__(self, renderable: Any) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: "Console", options: Any) -> Iterator["Segment"]:
        """Yield the segments that rich writes."""
        # Segments have no colour codes yet: rich adds those after this, so that they are not escaped.
        for segment in console.render(self.renderable, options):
            yield segment._replace(text=printable(segment.text))


def write_error(line: str) -> None:
    """Write an error to stderr, below any progress bar that is open."""
    # Not imported here: where nothing has imported tqdm, there are no bars.
    if tqdm := getattr(sys.modules.get("tqdm"), "tqdm", None):
        for bar in [*getattr(tqdm, "_instances", ())]:
            bar.leave = True
            bar.close()
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


def warn(line: str) -> None:
    """Write a warning to stderr; where :func:`quiet` holds, as in Python calls, it is a Python warning."""
    if _quiet.get() is not None:
        warnings.warn(line, stacklevel=2)
    else:
        write_error(f"warning: {line}")


def traceback_of(error: BaseException) -> str:
    """Return an error's traceback without the frames of Hydra and Lightning, which call our code."""
    summary = TracebackException.from_exception(error)
    link: TracebackException | None = summary
    while link is not None:  # the error, then what caused it
        link.stack[:] = [frame for frame in link.stack if not _is_framework(frame.filename)]
        link = link.__cause__ or link.__context__
    return "".join(summary.format()).rstrip("\n")


def _is_framework(filename: str) -> bool:
    library = filename.replace("\\", "/").rpartition("/site-packages/")[2].partition("/")[0]
    return library in _FRAMEWORKS or filename.endswith(("<frozen runpy>", "/contextlib.py"))


def _console() -> "Console":
    from rich.console import Console  # here, as a process that only starts jobs should start fast

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNLIMITED_WIDTH
    return console
