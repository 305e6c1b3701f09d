"""Show a run on the experiment tracker, from its settings to how it ended."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.evaluation.headline import wandb_config
from moe_distill.pipelines.stage import Pipeline
from moe_distill.store.identity import key, word_of


@contextlib.contextmanager
def tracked(pipeline: Pipeline, runtime: Runtime, resolved: Mapping[str, Any]) -> Iterator[None]:
    """Show what the block does on the run's tracker; one without a plan, such as an import, is not opened.

    Args:
        pipeline: What the run does.
        runtime: Its surroundings, with the tracker.
        resolved: Its whole configuration in plain containers.
    """
    tracker: Any = runtime.tracker
    if pipeline.main_plan is not None:
        axes = wandb_config(
            pipeline.main_plan,
            dataset=resolved["data"]["name"],
            scale=resolved["scale_name"],
            ipc=resolved["ipc"],
            noe=resolved["noe"],
        )
        identity = key([resolved["name"], resolved["scale_name"], pipeline])
        tracker.open(word_of(type(pipeline)), identity, axes, resolved)
    failed = True
    try:
        yield
        failed = False
    finally:
        tracker.finish(failed)
