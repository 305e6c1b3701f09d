"""What a run prints: text as it is, whole where it is piped, and errors below any progress bar."""

import sys
from collections.abc import Iterator
from traceback import TracebackException
from typing import TYPE_CHECKING, Any

from moe_distill.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment

_MACHINERY = ("hydra", "lightning_fabric", "pytorch_lightning")
_WIDE = 10_000  # columns of a file, which no table fills


def say(text: str, style: str | None = None) -> None:
    """Print a text without wrapping it and without taking brackets in paths and names for markup."""
    _console().print(printable(text), style=style, soft_wrap=True)


def show(table: Any) -> None:
    """Print a rich table, as wide as it needs where no terminal shows it; its cells and title are no
    markup.
    """
    _print(_console(), table)


def rendered(table: Any) -> str:
    """Return what :func:`show` prints."""
    console = _console()
    with console.capture() as captured:
        _print(console, table)
    return captured.get()


def _print(console: "Console", table: Any) -> None:
    title, table.title = table.title, None  # rich would wrap it at the table's width
    if title is not None:
        console.print(_Harmless(title), style="italic", soft_wrap=True)
    console.print(_Harmless(table))
    table.title = title


class _Harmless:
    """What rich prints, its texts as :func:`printable` returns them; rich's own colours are added later."""

    def __init__(self, renderable: Any) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: "Console", options: Any) -> Iterator["Segment"]:
        """Yield the segments that rich writes."""
        for segment in console.render(self.renderable, options):
            yield segment._replace(text=printable(segment.text))


def write_error(line: str) -> None:
    """Write an error to stderr, below any progress bar that is open."""
    if tqdm := getattr(sys.modules.get("tqdm"), "tqdm", None):  # where it is not imported, there are no bars
        for bar in [*getattr(tqdm, "_instances", ())]:
            bar.leave = True
            bar.close()
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


def traceback_of(error: BaseException) -> str:
    """Return an error's traceback without the frames of the libraries that called us, which tell a reader
    nothing.
    """
    told = TracebackException.from_exception(error)
    one: TracebackException | None = told
    while one is not None:
        one.stack[:] = [frame for frame in one.stack if not _is_machinery(frame.filename)]
        one = one.__cause__ or one.__context__
    return "".join(told.format()).rstrip("\n")


def _is_machinery(filename: str) -> bool:
    library = filename.replace("\\", "/").rpartition("/site-packages/")[2].partition("/")[0]
    return library in _MACHINERY or filename.endswith(("<frozen runpy>", "/contextlib.py"))


def _console() -> "Console":
    from rich.console import Console  # here, as whoever only starts jobs is to start at once

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDE
    return console
