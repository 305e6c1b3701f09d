"""Progress bars that read well in a terminal, in a notebook and in a log file."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import TqdmWarning, tqdm

from moe_distill.terminal import hides_progress

T = TypeVar("T")
_LINE_EVERY_SECONDS = 30.0


class Lines(tqdm):
    """Progress as lines of a log: one at the start, then one every half minute, and one when it is done."""

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line; nothing is drawn over, as a file keeps every drawing."""
        if msg != "" and not self.disable and self.n != self.total:
            self.fp.write(f"{msg or self}\n")
            self.fp.flush()
        return True

    def close(self) -> None:
        """End without clearing a line; say so if all steps were taken."""
        if self in self._instances and self.total and self.n >= self.total:
            elapsed = self.format_interval(self.format_dict["elapsed"])
            self.fp.write(f"{self.desc}: {self.n} of {self.total} done in {elapsed}\n")
        self.disable = True
        if self in self._instances:
            self._decr_instances(self)


def progress_bar(label: str, total: int, initial: int = 0, hidden: bool = False, delay: float = 0.0) -> Any:
    """Return a bar with ``update()`` and ``close()``, which shows nothing once it is closed.

    Args:
        label: Text beside it.
        total: Number of steps.
        initial: Steps that are done already.
        hidden: Whether it is not shown at all.
        delay: Seconds before it is shown.
    """
    common: dict[str, Any] = {
        "total": total,
        "initial": initial,
        "desc": label,
        "leave": False,
        "delay": delay,
    }
    hidden = hidden or hides_progress()
    if _is_notebook():
        with warnings.catch_warnings():
            # Where there are no widgets (ipywidgets), its bars are text, which is as readable.
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm as tqdm_of_notebooks  # warns outside of notebooks, too

        return tqdm_of_notebooks(**common, disable=hidden, mininterval=0.5)
    if sys.stderr.isatty():
        return tqdm(**common, disable=hidden, mininterval=0.5)
    layout = "{desc}: {n_fmt} of {total_fmt}, {elapsed} so far, {remaining} to go"
    # Its thread, which looks for stalled bars, would draw one again.
    Lines.monitor_interval = 0
    return Lines(**common, disable=hidden, mininterval=_LINE_EVERY_SECONDS, bar_format=layout)


def with_progress(
    steps: Iterable[T], label: str, total: int, hidden: bool = False, delay: float = 0.0
) -> Iterator[T]:
    """Yield the steps while a bar counts them; arguments as for :func:`progress_bar`."""
    bar = progress_bar(label, total, hidden=hidden, delay=delay)
    try:
        for step in steps:
            yield step
            bar.update()
    finally:
        bar.close()


def _is_notebook() -> bool:
    """Return True in a kernel of Jupyter, whose cells show widgets."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
