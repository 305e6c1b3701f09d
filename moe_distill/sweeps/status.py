"""The status of a sweep: which cells are done, running, failed or missing."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from moe_distill import terminal
from moe_distill.errors import InputError
from moe_distill.results.attempts import LOG, Attempt, attempts_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.wording import count
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import DONE, Cell, Sweep

_STYLES = {DONE: "green", "running": "cyan", "missing": "dim"}
_LOG_TAIL_BYTES = 1 << 14


def format_status(sweep: Sweep, folder: Path, results: FinishedRows, forecast: str) -> str:
    """Return the status of a sweep as text: a table of cells, their count by state, and the forecast.

    Args:
        sweep: The sweep.
        folder: Its folder.
        results: The rows that are finished.
        forecast: The cost of the missing stages, as text.
    """
    table = Table(title=Text(f"{folder.name}: {count([len(sweep.cells)], 'job')}"), title_justify="left")
    # "for" is the time spent on all attempts.
    for column in ("cell", "state", "attempts", "for", "last said"):
        table.add_column(column, overflow="fold")
    states = [cell.state(folder, results) for cell in sweep.cells]
    for cell, state in zip(sweep.cells, states, strict=True):
        attempts = cell.attempts(folder)
        seconds = sum(attempt.ended - attempt.began for attempt in attempts if attempt.ended)
        if attempts and state == "running":
            seconds += time.time() - attempts[-1].began
        table.add_row(
            Text(cell.name),
            Text(state, _STYLES.get(state, "red")),
            str(len(attempts) or ""),
            f"{seconds / 60:.0f} min" if attempts else "",
            Text(_last_message(state, attempts, folder / cell.folder)),
        )
    counts = Counter(states)
    summary = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"{terminal.rendered(table)}{summary}\n{forecast}"


def _last_message(state: str, attempts: Sequence[Attempt], folder: Path) -> str:
    """Return the error of a job's last attempt, or the last line that it printed."""
    if state in (DONE, "missing"):
        return ""
    if attempts and attempts[-1].error:
        return attempts[-1].error
    printed = last_lines(folder, most=1).strip()
    return "" if printed.startswith("$ ") else printed  # the command, with which the log begins


def last_lines(folder: Path, most: int = 30) -> str:
    """Return the last lines of a job's log; of a progress bar, only what it showed last.

    Args:
        folder: The job's.
        most: Number of lines.
    """
    log = folder / LOG
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        text = file.read().decode(errors="replace")
    lines = []
    for line in text.split("\n"):
        # A bar is redrawn after a carriage return: the last drawing is what a terminal would show.
        drawings = [part for part in line.split("\r") if part.strip()]
        if drawings:
            lines.append(drawings[-1].rstrip())
    return "\n".join(lines[-most:])


def status_of_folder(cfg: DictConfig) -> str:
    """Return the status of the run in a folder, or of the sweep that was started in it.

    Raises:
        InputError: There was none.
    """
    folder = Path(cfg.paths.output)
    sweep, attempts = Sweep.read(folder), attempts_of(folder)
    if sweep is None and not attempts:
        raise InputError("name", cfg.name, f"an experiment run before: {folder} holds no run")
    # A single run is shown as a sweep of one cell in the same folder.
    sweep = sweep or Sweep(attempts[-1].command, {}, (Cell(folder.name, ".", attempts[-1].command, ()),))
    results = FinishedRows(Store(cfg.paths.store), cfg.paths.tables)
    if all(cell.state(folder, results) == DONE for cell in sweep.cells):
        forecast = "nothing is left to do"
    else:  # a single configuration does not say what the sweep's jobs are
        forecast = "for a forecast, run moe-distill status with the sweep's own overrides"
    return format_status(sweep, folder, results, forecast)
