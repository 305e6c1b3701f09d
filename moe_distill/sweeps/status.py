"""How far a sweep is: which cells are done, running, failed or missing."""

import time
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from moe_distill import terminal
from moe_distill.errors import InputError
from moe_distill.results.attempts import LOG, attempts_of
from moe_distill.results.known_rows import Results
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import DONE, Cell, Sweep

_STYLES = {DONE: "green", "running": "cyan", "missing": "dim"}
_LOG_TAIL_BYTES = 1 << 14


def format_status(sweep: Sweep, folder: Path, results: Results, forecast: str) -> str:
    """Return the state of a sweep as text: a line for each cell, their count, and what is left to do.

    Args:
        sweep: What was asked for.
        folder: Its folder.
        results: The rows that are done.
        forecast: What the stages that are missing are going to cost, as text; also where a cell is done, of
            which the store may have lost what it made.
    """
    table = Table(title=Text(f"{folder.name}: {len(sweep.cells)} cells"), title_justify="left")
    for column in ("cell", "state", "attempts", "for", "last said"):
        table.add_column(column, overflow="fold")
    states = [cell.state(folder, results) for cell in sweep.cells]
    for cell, state in zip(sweep.cells, states, strict=True):
        tried = cell.attempts(folder)
        spent = sum(a.ended - a.began for a in tried if a.ended)
        if tried and state == "running":
            spent += time.time() - tried[-1].began
        printed = last_lines(folder / cell.folder, most=1).strip()
        printed = "" if printed.startswith("$ ") else printed  # the command, which the log begins with
        said = "" if state in (DONE, "missing") else (tried and tried[-1].error) or printed
        took = f"{spent / 60:.0f} min" if tried else ""
        shown_state = Text(state, _STYLES.get(state, "red"))
        table.add_row(Text(cell.name), shown_state, str(len(tried) or ""), took, Text(said))
    counts = Counter(states)
    summary = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"{terminal.rendered(table)}{summary}\n{forecast}"


def last_lines(folder: Path, most: int = 30) -> str:
    """Return the last lines that a job printed; of a bar that is redrawn, what it shows last."""
    log = folder / LOG
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        text = file.read().decode(errors="replace")
    redrawn = (
        next((part for part in reversed(line.split("\r")) if part.strip()), "") for line in text.split("\n")
    )
    lines = [line.rstrip() for line in redrawn if line.strip()]
    return "\n".join(lines[-most:])


def status_of_folder(cfg: DictConfig) -> str:
    """Say how far the run of a folder is, or the sweep that was begun in it.

    Raises:
        InputError: There was none.
    """
    folder = Path(cfg.paths.output)
    begun, tried = Sweep.read(folder), attempts_of(folder)
    if begun is None and not tried:
        raise InputError("name", cfg.name, f"an experiment run before: {folder} holds no run")
    begun = begun or Sweep(tried[-1].command, {}, (Cell(folder.name, ".", tried[-1].command, ()),))
    results = Results(Store(cfg.paths.store), cfg.paths.tables)
    done = all(cell.state(folder, results) == DONE for cell in begun.cells)
    rest = (
        "nothing is left to do"
        if done
        else "the sweep's own command as python -m moe_distill.status foretells it"
    )
    return format_status(begun, folder, results, rest)
