"""Build a run's or a sweep's tables and pages again from what lies in its folder."""

from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.pipelines.conclude import write_page
from moe_distill.pipelines.results import Results
from moe_distill.pipelines.rows import is_sweep, merged
from moe_distill.pipelines.runtime import Runtime


def report(runtime: Runtime) -> dict[str, Any]:
    """Rebuild ``results.csv`` of a sweep and every ``report.html`` below the run's folder.

    Returns:
        ``pages``: how many were written.

    Raises:
        InputError: No run was concluded there.
    """
    folders = [f.parent for f in sorted(runtime.output.glob("**/stages.json"))]
    if not folders:
        raise InputError("name", runtime.experiment, f"an experiment run before: {runtime.output} holds no stages.json")
    for folder in folders:
        write_page(folder)
    if is_sweep(runtime.output):
        report_sweep(runtime.output, runtime.results)
    return {"pages": len(folders)}


def report_sweep(folder: Path, results: Results) -> str:
    """Merge the tables of a sweep's jobs, build its page, and return where they are."""
    merged(folder)
    return f"rows: {folder / 'results.csv'}"
