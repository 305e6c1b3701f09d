"""What a run shows elsewhere: nothing, or a Weights & Biases run. The store stays the truth."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from moe_distill.errors import InputError
from moe_distill.validation.values import Text, checked
from moe_distill.validation.wording import Where

Mode = Literal["offline", "online", "disabled"]
Project = Annotated[
    str,
    Where(
        lambda name: 0 < len(name) <= 128 and not set(name) & set("/\\#?%:"),
        r"a name of at most 128 characters, none of them / \ # ? % :",
    ),
]
_TAG_LETTERS = 64


class NoTracker:
    """Shows nothing."""

    def open(
        self, job_type: str, identity: str, axes: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        """Nothing to open."""

    def loggers(self) -> Sequence[Any]:
        """Return no logger."""
        return ()

    def images(self, name: str, pictures: Mapping[str, Any]) -> None:
        """Nothing to show."""

    def results(self, rows: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]) -> None:
        """Nothing to show."""

    def summary(self, values: Mapping[str, float | None]) -> None:
        """Nothing to show."""

    def finish(self, failed: bool) -> None:
        """Nothing to close."""


@checked
class WandbMirror:
    """One Weights & Biases run a job.

    A run's id is its job's own, so that the server keeps one run of a job that is repeated or resumed: the
    last, which tells everything again. Offline each attempt leaves a folder; synced in order, they arrive at
    that one run.

    Args:
        project: wandb project.
        mode: ``offline``, ``online`` or ``disabled``.
        group: Usually the experiment, so that a sweep is one group.
        folder: Where the run's files lie; staged artifacts stay beside them.
    """

    def __init__(self, project: Project, mode: Mode, group: Text, folder: Text) -> None:
        self.project, self.mode, self.group, self.folder = project, mode, group, Path(folder)
        self.run: Any = None
        self.point: dict[str, float] = {}

    def open(
        self, job_type: str, identity: str, axes: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        """Start the run.

        Args:
            job_type: The pipeline.
            identity: What decides the job, at most 64 characters.
            axes: What charts group and order by; with the plain ones of the settings, the run's own
                configuration.
            settings: The whole configuration; its branches stand below ``settings``.

        Raises:
            InputError: The run is to be online and there is no key, the server refuses it, or a variable of
                the environment is not what wandb takes.
        """
        # Importing wandb takes seconds, and a machine without it can still distil with logger=none.
        import pydantic
        import wandb

        if self.mode == "online":
            require_key("logger.mode", self.mode, "offline, or ")
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
            os.environ.setdefault(variable, str(self.folder / "wandb"))
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = {name: value for name, value in settings.items() if not isinstance(value, dict | list)}
        branches = {name: value for name, value in settings.items() if name not in plain}
        tags = dict.fromkeys(str(axes[name])[:_TAG_LETTERS] for name in ("dataset", "method", "scale"))
        config = {**plain, **axes, "settings": branches}
        try:
            self.run = self._started(id=identity, job_type=job_type, tags=[*tags], config=config)
        except wandb.Error as error:
            refused = (
                f"run {identity} was refused: {error} (if it was deleted there, restore it or change `name`)"
            )
            raise InputError("logger.mode", self.mode, f"offline; {refused}") from error
        except (
            pydantic.ValidationError
        ) as error:  # of the environment: all that is handed on here was checked
            first = error.errors()[0]
            raise InputError(f"WANDB_{first['loc'][0]}".upper(), first["input"], first["msg"]) from error
        self.point = {name: axes[name] for name in ("ipc", "noe", "budget")}
        self.run.define_metric("iteration")
        self.run.define_metric("*", step_metric="iteration")

    def _started(self, **about: Any) -> Any:
        import wandb

        return wandb.init(
            project=self.project,
            mode=self.mode,
            group=self.group,
            name=self.folder.name,
            dir=str(self.folder),
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off"),
            **about,
        )

    def loggers(self) -> Sequence[Any]:
        """Return a Lightning logger that writes to the run."""
        from pytorch_lightning.loggers import WandbLogger

        return (WandbLogger(experiment=self.run),)

    def images(self, name: str, pictures: Mapping[str, Any]) -> None:
        """Show PIL images by caption."""
        import wandb

        self.run.log({name: [wandb.Image(picture, caption=caption) for caption, picture in pictures.items()]})

    def results(self, rows: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]) -> None:
        """Show result rows and stage costs as tables."""
        import wandb

        for name, lines in (("results", rows), ("costs", costs)):
            if lines:
                columns = list(lines[0])
                data = [[line.get(c, "") for c in columns] for line in lines]
                self.run.log({name: wandb.Table(columns=[*columns], data=data, allow_mixed_types=True)})

    def summary(self, values: Mapping[str, float | None]) -> None:
        """Show single numbers at once, and all of them as the last point of the run's history."""
        known = {name: value for name, value in values.items() if value is not None}
        self.point |= known
        self.run.summary.update(known)

    def finish(self, failed: bool) -> None:
        """Close the run, so that the next job starts its own.

        Its last point holds ``ipc``, ``noe`` and ``budget`` beside the numbers: a line over them joins the
        runs of a sweep.
        """
        if self.run is not None:
            self.run.log(self.point)
            self.run.finish(exit_code=int(failed))


def require_key(name: str, value: object, otherwise: str = "") -> None:
    """Make sure that there is a Weights & Biases key, without asking at the terminal.

    Args:
        name: The configuration key that needs it.
        value: What it is.
        otherwise: What would be allowed instead, as the beginning of a sentence.

    Raises:
        InputError: There is none, or it cannot be one.
    """
    import wandb

    try:
        known = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise InputError(name, value, f"{otherwise}a Weights & Biases key that works: {error}") from error
    if not known:
        allowed = f"{otherwise}with a Weights & Biases key: run `wandb login` once, or set WANDB_API_KEY"
        raise InputError(name, value, allowed)
