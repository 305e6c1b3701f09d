"""What a run shows elsewhere: nothing, or a Weights & Biases run. The store stays the truth."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class NoMirror:
    """Shows nothing."""

    def open(self, job_type: str, config: Mapping[str, Any]) -> None:
        """Nothing to open."""

    def loggers(self) -> Sequence[Any]:
        """Return no logger."""
        return ()

    def images(self, name: str, pictures: Mapping[str, Any]) -> None:
        """Nothing to show."""

    def results(self, rows: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]) -> None:
        """Nothing to show."""

    def finish(self) -> None:
        """Nothing to close."""


class WandbMirror:
    """One Weights & Biases run a job.

    Args:
        project: wandb project.
        mode: ``offline``, ``online`` or ``disabled``.
        group: Usually the experiment, so that a sweep is one group.
        folder: Where the run's files lie; staged artifacts stay beside them.
    """

    def __init__(self, project: str, mode: str, group: str, folder: str) -> None:
        self.project, self.mode, self.group, self.folder = project, mode, group, Path(folder)
        self.run: Any = None

    def open(self, job_type: str, config: Mapping[str, Any]) -> None:
        """Start the run."""
        # Importing wandb takes seconds, and a machine without it can still distil with logger=none.
        import wandb

        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            os.environ.setdefault(variable, str(self.folder / "wandb"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=self.project,
            mode=self.mode,  # type: ignore[arg-type]
            group=self.group,
            job_type=job_type,
            name=self.folder.name,
            config=dict(config),
            dir=str(self.folder),
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.run.define_metric("iteration")
        self.run.define_metric("*", step_metric="iteration")

    def loggers(self) -> Sequence[Any]:
        """Return a Lightning logger that writes to the run."""
        from pytorch_lightning.loggers import WandbLogger

        return (WandbLogger(experiment=self.run),)

    def images(self, name: str, pictures: Mapping[str, Any]) -> None:
        """Show PIL images by caption."""
        import wandb

        self.run.log({name: [wandb.Image(picture, caption=caption) for caption, picture in pictures.items()]})

    def results(self, rows: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]) -> None:
        """Show result rows and stage costs as tables, mean accuracies as the run's summary."""
        import wandb

        for name, lines in (("results", rows), ("costs", costs)):
            if lines:
                columns = list(lines[0])
                data = [[line.get(c, "") for c in columns] for line in lines]
                self.run.log({name: wandb.Table(columns=[*columns], data=data, allow_mixed_types=True)})
        groups: dict[str, list[float]] = {}
        for row in rows:
            groups.setdefault(f"accuracy/{row['roster']}/{row['architecture']}", []).append(float(row["accuracy_last"]))
        self.run.summary.update({name: sum(values) / len(values) for name, values in groups.items()})

    def finish(self) -> None:
        """Close the run, so that the next job starts its own."""
        self.run.finish()
