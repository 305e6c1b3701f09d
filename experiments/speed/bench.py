"""Times one iteration of each method against a naive reference; writes runs/speed/bench.json and a table."""

import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from experiments.speed.cases import CASES, Case
from experiments.speed.machine import where
from experiments.speed.sides import BUILDERS
from experiments.speed.start import Collected, Side
from moe_distill.costs import Meter
from moe_distill.errors import InputError
from moe_distill.models.convnet import ConvNet
from moe_distill.store.store import write_json

OUT = Path("runs/speed/bench.json")
Record = dict[str, Any]
Peak = Callable[[Case, str], float]


def first_gradient(case: Case, which: str, dtype: torch.dtype) -> torch.Tensor:
    """Return the image gradient of a side's first iteration."""
    side = BUILDERS[which](case, dtype)
    collected = Collected(side)
    side.iterate(0)
    return collected.gradient


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return ‖found - exact‖ / ‖exact‖ in float64."""
    return float((found.double() - exact).norm() / exact.norm())


def median_error(found_NCHW: torch.Tensor, exact_NCHW: torch.Tensor) -> float:
    """Return the median over images of the gradient's error.

    A single activation that rounding moves across 0 does not change it.

    The whole gradient's error is that of the few images with such an activation, where there is one.
    """
    return statistics.median(relative_error(f, e) for f, e in zip(found_NCHW, exact_NCHW, strict=True))


def timed(side: Side, iteration: int) -> tuple[float, float]:
    """Run one iteration; return its wall and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    side.iterate(iteration)
    return time.perf_counter() - wall, time.process_time() - cpu


def play(ours: Side, reference: Side, rounds: int) -> Record:
    """Run rounds of ours, reference, reference, ours, from iteration 1 on, and return what they took."""
    rows = []
    for first in range(1, 2 * rounds, 2):
        order = ((ours, first), (reference, first), (reference, first + 1), (ours, first + 1))
        a, b, c, d = (timed(side, iteration) for side, iteration in order)
        rows.append([(a[k] + d[k]) / 2 for k in (0, 1)] + [(b[k] + c[k]) / 2 for k in (0, 1)])
    ours_wall, ours_cpu, other_wall, other_cpu = (list(column) for column in zip(*rows, strict=True))
    found = {
        "seconds": statistics.median(ours_wall),
        "reference_seconds": statistics.median(other_wall),
        "cpu_seconds": statistics.median(ours_cpu),
        "reference_cpu_seconds": statistics.median(other_cpu),
    }
    for prefix, one, other in (("", ours_wall, other_wall), ("cpu_", ours_cpu, other_cpu)):
        ratios = [x / y for x, y in zip(one, other, strict=True)]
        found |= {f"{prefix}ratio_median": statistics.median(ratios)}
        found |= {f"{prefix}ratio_low": min(ratios), f"{prefix}ratio_high": max(ratios)}
    return found


def peak_mb(case: Case, which: str) -> float:
    """Return the memory, in MiB, by which a side's first iteration exceeds what the process held before."""
    network = ConvNet(3, 2, 8, width=0.0625)
    F.cross_entropy(
        network(torch.zeros(2, 3, 8, 8)), torch.tensor([0, 1])
    ).backward()  # libraries are loaded now
    side = BUILDERS[which](case, torch.float32)
    here = torch.device("cpu")
    base = Meter(here).read(0, 0)["peak_memory_mb"]
    meter = Meter(here)
    side.iterate(0)
    return meter.read(0, 0)["peak_memory_mb"] - base


def peak_mb_alone(case: Case, which: str) -> float:
    """Return :func:`peak_mb` as measured in a fresh process."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        return pool.submit(peak_mb, case, which).result()


def measure(case: Case, rounds: int, peak: Peak = peak_mb_alone) -> Record:
    """Return the record of one case.

    Args:
        case: What is compared.
        rounds: Rounds of four iterations, after one of each side that warms up and gives the gradients.
        peak: Measures the memory of a side.
    """
    exact = first_gradient(case, "reference" if case.exact_by_reference else "ours", torch.float64)
    peaks = {"peak_mb": peak(case, "ours"), "reference_peak_mb": peak(case, "reference")}
    ours, reference = (BUILDERS[which](case, torch.float32) for which in ("ours", "reference"))
    collected, other = Collected(ours), Collected(reference)
    ours.iterate(0)
    with FlopCounterMode(display=False) as counter:
        reference.iterate(0)
    errors = {
        "gradient_error": relative_error(collected.gradient, exact),
        "reference_gradient_error": relative_error(other.gradient, exact),
        "gradient_error_median": median_error(collected.gradient, exact),
        "reference_gradient_error_median": median_error(other.gradient, exact),
        "gradient_difference": relative_error(collected.gradient, other.gradient.double()),
    }
    times = play(ours, reference, rounds)
    flops = counter.get_total_flops()
    speed = flops / times["reference_cpu_seconds"] / 1e9
    counted = {"reference_gflop": flops / 1e9, "reference_gflop_per_cpu_second": speed}
    about = {"name": case.name, "setting": case.setting, "dtype": "float32", "rounds": rounds}
    exact_by = "reference" if case.exact_by_reference else "ours"
    return {
        **about,
        **times,
        **peaks,
        **errors,
        "error_against": f"{exact_by} in float64",
        **counted,
        **where(),
    }


def chosen(only: str) -> list[Case]:
    """Return the cases with these names, separated by commas; all of them for an empty text.

    Raises:
        InputError: There is no such case.
    """
    names = [name for name in only.split(",") if name] or [case.name for case in CASES]
    by_name = {case.name: case for case in CASES}
    for name in names:
        if name not in by_name:
            raise InputError("ONLY", name, ", ".join(by_name))
    return [by_name[name] for name in names]


def keep(record: Record, path: Path) -> list[Record]:
    """Put a record in the place of the one of its name; return all records of the file."""
    kept = json.loads(path.read_text()) if path.is_file() else []
    names = [case.name for case in CASES]
    records = sorted(
        [r for r in kept if r["name"] != record["name"]] + [record], key=lambda r: names.index(r["name"])
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, records)
    return records


def table(records: list[Record]) -> Table:
    """Return the records as a table."""
    heads = (
        "case",
        "seconds",
        "reference",
        "wall ratio",
        "CPU ratio",
        "reference GFLOP/s",
        "peak MiB",
        "reference",
    )
    shown = Table(
        *heads,
        "gradient error (median image)",
        "reference",
        "rounds",
        title="ours / naive reference, one iteration",
    )
    for r in records:
        ratios = (
            f"{r[f'{of}ratio_median']:.2f} ({r[f'{of}ratio_low']:.2f}–{r[f'{of}ratio_high']:.2f})"
            for of in ("", "cpu_")
        )
        peaks = (f"{r[name]:.0f}" for name in ("peak_mb", "reference_peak_mb"))
        errors = (
            f"{r[f'{of}gradient_error']:.0e} ({r[f'{of}gradient_error_median']:.0e})"
            for of in ("", "reference_")
        )
        seconds = (f"{r[name]:.2f}" for name in ("seconds", "reference_seconds"))
        reached = f"{r['reference_gflop_per_cpu_second']:.0f}"
        shown.add_row(r["name"], *seconds, *ratios, reached, *peaks, *errors, str(r["rounds"]))
    return shown


def count(name: str, default: int) -> int:
    """Return a whole number that the environment gives.

    Raises:
        InputError: It is none, or below 1.
    """
    given = os.environ.get(name) or str(default)
    if not given.isdecimal() or int(given) < 1:
        raise InputError(name, given, "a whole number of at least 1")
    return int(given)


def main() -> None:
    """Measure the cases that the environment's ONLY names, with its ROUNDS and THREADS."""
    cases, rounds = chosen(os.environ.get("ONLY", "")), count("ROUNDS", 7)
    torch.set_num_threads(count("THREADS", 1))
    console = Console()
    for case in cases:
        console.print(f"{case.name}: {case.setting}")
        records = keep(measure(case, rounds), OUT)
    last = records[-1]
    console.print(table(records))
    console.print(
        f"{last['date']}, {last['hardware']}, {last['threads']} threads, "
        f"commit {last['commit']}; rows in {OUT}"
    )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
