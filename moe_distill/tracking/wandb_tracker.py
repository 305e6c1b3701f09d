"""Trackers: none, or a Weights & Biases run. The artifacts in the store remain the record of a run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from moe_distill.errors import InputError
from moe_distill.results.stages import StageCost
from moe_distill.validation.values import Text, checked
from moe_distill.validation.wording import Where

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["offline", "online", "disabled"]
Project = Annotated[
    str,
    Where(
        lambda name: 0 < len(name) <= 128 and not set(name) & set("/\\#?%:"),
        r"a name of at most 128 characters, none of them / \ # ? % :",
    ),
]
_TAG_LETTERS = 64  # wandb refuses longer tags


class NoTracker:
    """Shows nothing.

    Example:
        >>> NoTracker().loggers()
        ()
    """

    def open(
        self, job_type: str, identity: str, axes: Mapping[str, object], settings: Mapping[str, object]
    ) -> None:
        """Do nothing: there is no run to open.

        Args:
            job_type: See :meth:`WandbTracker.open`, as for the others.
            identity: See ``job_type``.
            axes: See ``job_type``.
            settings: See ``job_type``.
        """

    def loggers(self) -> Sequence[Any]:
        """Return no logger."""
        return ()

    def images(self, name: str, pictures: "Mapping[str, Image]") -> None:
        """Nothing to show."""

    def results(self, rows: Sequence[Mapping[str, object]], costs: Sequence[StageCost]) -> None:
        """Nothing to show."""

    def summary(self, values: Mapping[str, float | None]) -> None:
        """Nothing to show."""

    def finish(self, failed: bool) -> None:
        """Nothing to close."""


@checked
class WandbTracker:
    """Shows each job as a Weights & Biases run.

    A run's id is derived from its job, so a job that is repeated or resumed replaces its earlier run on the
    server. Offline, each attempt leaves a folder; if they are synced in order, the last one remains.

    Args:
        project: wandb project.
        mode: ``offline``, ``online`` or ``disabled``.
        group: Usually the experiment, so that a sweep is one group.
        folder: Folder of the run's files, staged artifacts included.
    """

    def __init__(self, project: Project, mode: Mode, group: Text, folder: Text) -> None:
        self.project, self.mode, self.group, self.folder = project, mode, group, Path(folder)
        self.run: Any = None
        self.point: dict[str, object] = {}
        self.variables: list[str] = []  # of the environment, set for the time of the run

    def open(
        self, job_type: str, identity: str, axes: Mapping[str, object], settings: Mapping[str, object]
    ) -> None:
        """Start the run.

        Args:
            job_type: The pipeline's name.
            identity: Key of everything that decides the job, at most 64 characters; the run's id.
            axes: Settings by which charts group and order runs, at the top level of the run's configuration;
                they replace settings of the same names.
            settings: The whole configuration. Single values are at the top level, branches below
                ``settings``.

        Raises:
            InputError: The run is to be online and there is no key, the server refuses it, or wandb does not
                accept a variable of the environment.
        """
        if self.mode == "online":
            require_key("logger.mode", self.mode, "offline, or ")
        # By default wandb writes into the home folder, which on clusters is often small.
        self.variables = [name for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR") if name not in os.environ]
        os.environ.update(dict.fromkeys(self.variables, str(self.folder / "wandb")))
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = {name: value for name, value in settings.items() if not isinstance(value, dict | list)}
        branches = {name: value for name, value in settings.items() if name not in plain}
        tags = dict.fromkeys(str(axes[name])[:_TAG_LETTERS] for name in ("dataset", "method", "scale"))
        self.run = self._started(identity, job_type, [*tags], {**plain, **axes, "settings": branches})
        self.point = {name: axes[name] for name in ("ipc", "noe", "budget")}
        # Curves are drawn over the job's own iterations, not over wandb's count of log calls.
        self.run.define_metric("iteration")
        self.run.define_metric("*", step_metric="iteration")

    def _started(self, identity: str, job_type: str, tags: list[str], config: dict[str, object]) -> Any:
        """Return a new run; raise an InputError if wandb or its server refuses it."""
        # Imported here: it takes seconds, and a machine without wandb can still distil with logger=none.
        import pydantic
        import wandb

        try:
            return wandb.init(
                id=identity,
                job_type=job_type,
                tags=tags,
                config=config,
                project=self.project,
                mode=self.mode,
                group=self.group,
                name=self.folder.name,
                dir=str(self.folder),
                # One that is open in this process, such as a notebook's, goes on beside it.
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.Error as error:
            refused = (
                f"run {identity} was refused: {error} (if it was deleted there, restore it or change `name`)"
            )
            raise InputError("logger.mode", self.mode, f"offline; {refused}") from error
        except pydantic.ValidationError as error:
            # The arguments above are valid, so a WANDB_… variable of the environment is to blame.
            first = error.errors()[0]
            raise InputError(f"WANDB_{first['loc'][0]}".upper(), first["input"], first["msg"]) from error

    def loggers(self) -> Sequence[Any]:
        """Return a Lightning logger that writes to the run."""
        from pytorch_lightning.loggers import WandbLogger

        # Without `experiment` it would open a run of its own.
        return (WandbLogger(experiment=self.run),)

    def images(self, name: str, pictures: "Mapping[str, Image]") -> None:
        """Show PIL images by caption."""
        import wandb

        self.run.log({name: [wandb.Image(picture, caption=caption) for caption, picture in pictures.items()]})

    def results(self, rows: Sequence[Mapping[str, object]], costs: Sequence[StageCost]) -> None:
        """Show result rows and stage costs as tables."""
        import wandb

        cost_rows: list[Mapping[str, object]] = [asdict(cost) for cost in costs]
        for name, table_rows in (("results", rows), ("costs", cost_rows)):
            if table_rows:
                columns = list(table_rows[0])
                data = [[row.get(column, "") for column in columns] for row in table_rows]
                # Mixed types: a column of numbers holds an empty text where there is none.
                self.run.log({name: wandb.Table(columns=[*columns], data=data, allow_mixed_types=True)})

    def summary(self, values: Mapping[str, float | None]) -> None:
        """Show single numbers at once; :meth:`finish` adds all of them to the run's history."""
        numbers = {name: value for name, value in values.items() if value is not None}
        self.point |= numbers
        self.run.summary.update(numbers)

    def finish(self, failed: bool) -> None:
        """Close the run, so that the next job starts its own.

        The last point of its history holds ``ipc``, ``noe`` and ``budget`` beside the numbers, so that a
        chart over one of these can join the runs of a sweep in a line.
        """
        if self.run is not None:
            self.run.log(self.point)
            self.run.finish(exit_code=int(failed))
        for name in self.variables:
            os.environ.pop(name, None)


def require_key(name: str, value: object, otherwise: str = "") -> None:
    """Refuse to go on without a Weights & Biases API key; never asks for one at the terminal.

    Args:
        name: The configuration key that needs it, for the error.
        value: That key's value.
        otherwise: What would be allowed without an API key, as the beginning of a sentence.

    Raises:
        InputError: There is no API key, or it is malformed.
    """
    import wandb

    try:
        # Not verified: offline runs, and machines without network access, must not wait for the server.
        has_key = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise InputError(name, value, f"{otherwise}a Weights & Biases key that works: {error}") from error
    if not has_key:
        allowed = f"{otherwise}with a Weights & Biases key: run `wandb login` once, or set WANDB_API_KEY"
        raise InputError(name, value, allowed)
