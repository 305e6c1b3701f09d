"""Workspace: the dashboard of a project's runs."""

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
        entity: User or team; None is the key's own.
    """

    project: Project
    entity: Text | None = None

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Push it; return how many ``sections`` it has; wandb says where it stands."""
        return {"sections": push_workspace(self.project, self.entity)}
