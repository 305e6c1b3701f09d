"""Build a run's or a sweep's tables and pages again from what lies in its folder."""

from typing import Any

from moe_distill.errors import InputError
from moe_distill.pipelines.conclude import write_page
from moe_distill.pipelines.rows import merged
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
    if (runtime.output / "multirun.yaml").is_file():
        merged(runtime.output)
    pages = [write_page(folder) for folder in folders]
    return {"pages": len(pages)}
