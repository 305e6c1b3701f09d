"""The entry point: ``python -m moe_distill.run [overrides]``."""

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from moe_distill import stopping

if __name__ == "__main__":  # before the other imports, which take a second
    stopping.install_handlers()

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.arguments import reordered, with_option_quoted, with_text_quoted, without_dashes
from moe_distill.config.flags import check_flags, folders_of, showing
from moe_distill.config.folders import conf_dir, searching
from moe_distill.config.overrides import check_here, check_split, check_typed
from moe_distill.config.refusals import one_line, unparsable
from moe_distill.config.resolving import check_paths, errors_as_typed, own_error, resolve_and_check
from moe_distill.config.schema import at_top, output_key, register, written_folders
from moe_distill.errors import InputError, LostRank
from moe_distill.results.attempts import attempt
from moe_distill.store.disk import as_input_error, explain_disk_errors
from moe_distill.store.identity import key, word_of
from moe_distill.store.locks import locked
from moe_distill.sweeps.looking import FORMER, current_look, looking
from moe_distill.terminal import say, traceback_of, write_error

register()

_FREE = "a folder where no run works: wait, or set name="


def run(cfg: DictConfig) -> float | None:
    """Build what the configuration names, run its pipeline and return its headline number, the accuracy.

    Raises:
        InputError: A setting or a file is invalid.
    """
    check_paths(cfg)
    with errors_as_typed(cfg), explain_disk_errors(written_folders(cfg.paths, Path(cfg.paths.output))):
        return _run(cfg)


def _run(cfg: DictConfig) -> float | None:
    if (look := current_look()) is not None:
        resolve_and_check(cfg)
        _check_question(cfg)
        say(look.at_run(cfg))
        return None
    output = Path(cfg.paths.output)
    command = shlex.join(["python", "-m", "moe_distill.run", *sys.argv[1:]])
    # The lock keeps a second run from overwriting the first one's tables. The attempt opens before anything
    # can fail, so that a failure is recorded in it.
    with (
        locked(output / ".run.lock", output_key(cfg.paths), refusal=_FREE),
        attempt(output, command) as record,
    ):
        resolved, runtime, pipeline = _instantiate(cfg)
        record.work = key([pipeline, cfg.scale_name, cfg.paths.store])
        if _is_single_run():
            _check_question(cfg)
            _print_forecast(cfg, pipeline, runtime)
        _open_tracker(runtime.tracker, pipeline, resolved)
        failed = True
        try:
            headline: dict[str, Any] = pipeline.run(runtime)
            failed = False
        finally:
            runtime.tracker.finish(failed)
        record.headline = headline.get("accuracy")
    return record.headline


def _is_single_run() -> bool:
    """Return True for a run outside a sweep, which forecasts the cost of all its jobs itself."""
    # Only a sweep numbers its jobs.
    return HydraConfig.initialized() and OmegaConf.is_missing(HydraConfig.get().job, "num")


def _check_question(cfg: DictConfig) -> None:
    """Refuse a question about columns that no row has; a sweep checks it against the rows it expects."""
    from moe_distill.results.question import require_known

    question = hydra.utils.instantiate(cfg.question, _convert_="all")
    require_known(question, [name.lstrip("+") for name in at_top()])


def _print_forecast(cfg: DictConfig, pipeline: Any, runtime: Any) -> None:
    """Print the expected cost of the run; nothing for a pipeline without stages."""
    from moe_distill.sweeps.forecast import format_forecast

    if pipeline.has_stages:
        jobs = [(pipeline, runtime.results)]
        say(format_forecast(jobs, str(cfg.trainer.accelerator), None, str(cfg.scale_name)))


def _instantiate(cfg: DictConfig) -> tuple[dict[str, Any], Any, Any]:
    """Return the checked and resolved configuration, the runtime and the pipeline."""
    resolved = resolve_and_check(
        cfg
    )  # before torch is imported, which takes seconds: a typo is reported at once
    from moe_distill.data.sources.shared import DataCache

    runtime = hydra.utils.instantiate(cfg.runtime, _convert_="all")
    pipeline = hydra.utils.instantiate(cfg.pipeline, _convert_="all")
    return resolved, runtime, pipeline.sharing(DataCache())


def _open_tracker(tracker: Any, pipeline: Any, resolved: dict[str, Any]) -> None:
    """Open the experiment tracker, except for pipelines without a plan such as a report or an import."""
    from moe_distill.evaluation.headline import wandb_config

    if pipeline.main_plan is not None:
        identity = key([resolved["name"], resolved["scale_name"], pipeline])
        axes = wandb_config(
            pipeline.main_plan,
            dataset=resolved["data"]["name"],
            scale=resolved["scale_name"],
            ipc=resolved["ipc"],
            noe=resolved["noe"],
        )
        tracker.open(word_of(type(pipeline)), identity, axes, resolved)


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def _hydra_main(cfg: DictConfig) -> float | None:
    try:
        check_here(HydraConfig.get())
        check_split(HydraConfig.get().overrides.task)
        return run(cfg)
    except Exception as error:  # here, as outside of this function Hydra prints its own report first
        if (ours := own_error(error)) is not None:
            _fail(str(ours))
        if isinstance(error, HydraException | OmegaConfBaseException):
            _fail(one_line(error))
        if isinstance(error, LostRank):
            _fail(str(error), code=1)
        raise


def as_hydra_reads(arguments: list[str]) -> list[str]:
    """Return a command line's arguments in the order and quoting that Hydra accepts.

    Example:
        >>> as_hydra_reads(["--seed=3", "name=über", "-m"])
        ['-m', 'seed=3', "name='über'"]
    """
    plain = reordered([without_dashes(argument) for argument in arguments])
    sweeping = not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(plain)
    return [with_option_quoted(with_text_quoted(argument, sweeping)) for argument in plain]


def main() -> None:
    """Run from the command line.

    Invalid input ends the process with one line and exit code 2, a stop signal with one line and exit code
    128 plus the signal's number, any other error with a traceback and exit code 1.
    """
    # Hydra then raises errors instead of printing them, and they are reported in one line below.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    former = next((look for word, look in FORMER.items() if word in sys.argv[1:]), None)
    with stopping.graceful_stop(), looking(current_look() or former):
        try:
            sys.argv = [sys.argv[0], *as_hydra_reads([word for word in sys.argv[1:] if word not in FORMER])]
            check_typed(sys.argv[1:])
            package = check_flags(sys.argv[1:])
            with searching(folders_of(sys.argv[1:])), showing(package):
                _hydra_main()
        except (InputError, HydraException, OmegaConfBaseException) as error:
            _fail(str(own_error(error) or one_line(error)))
        except Exception as error:
            if (line := unparsable(error)) is not None:
                _fail(line)
            if isinstance(error, OSError):
                _refuse_folder(error)
            write_error(traceback_of(error))
            sys.exit(1)


def _refuse_folder(error: OSError) -> None:
    """End with one line if Hydra could not create the job's folder, which it does before our code runs."""
    typed = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    setting = next((name for name in ("hydra.run.dir", "hydra.sweep.dir") if name in typed), "paths.runs")
    folder = Path(os.fsdecode(error.filename or typed.get(setting, "runs")))  # a full disk names no file
    if not _in_job(error) and (explanation := as_input_error(error, {setting: folder})) is not None:
        _fail(str(explanation))


def _in_job(error: BaseException) -> bool:
    """Return True if an error was raised after the job had begun."""
    job = _hydra_main.__wrapped__.__code__
    return any(frame.f_code is job for frame, _ in traceback.walk_tb(error.__traceback__))


def _fail(message: str, code: int = 2) -> NoReturn:
    write_error(f"error: {message}")
    sys.exit(code)


if __name__ == "__main__":
    main()
