"""Workspace: save a dashboard over a project's runs at Weights & Biases."""

from dataclasses import dataclass
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.pipelines.stage import Pipeline
from moe_distill.tracking.wandb_tracker import Project
from moe_distill.tracking.workspace import push_workspace
from moe_distill.validation.values import Text, checked


@checked
@dataclass(frozen=True)
class Workspace(Pipeline):
    """Push a project's dashboard to Weights & Biases as a saved view.

    Args:
        project: wandb project, which need not have runs yet.
        entity: User or team; None takes the default entity of the API key.
    """

    project: Project
    entity: Text | None = None

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Push the dashboard and return its number of ``sections``; wandb prints its address."""
        return {"sections": push_workspace(self.project, self.entity)}
