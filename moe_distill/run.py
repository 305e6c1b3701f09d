"""The entry point: ``python -m moe_distill.run [overrides]``."""

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from moe_distill import stopping

if __name__ == "__main__":  # before the other imports, which take a second
    stopping.heed()

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.arguments import reordered, with_option_quoted, with_text_quoted, without_dashes
from moe_distill.config.flags import check_flags, showing
from moe_distill.config.overrides import check_here, check_split, check_typed
from moe_distill.config.refusals import one_line
from moe_distill.config.resolving import as_typed, check_paths, own_error, settled
from moe_distill.config.schema import at_top, conf_dir, output_key, register, written
from moe_distill.errors import InputError, LostRank
from moe_distill.results.attempts import attempt
from moe_distill.store.disk import explained, guard_disk
from moe_distill.store.locks import locked
from moe_distill.sweeps.looking import FORMER, current_look, looking
from moe_distill.terminal import say, traceback_of, write_error

register()

_FREE = "a folder where no run works: wait, or set name="


def run(cfg: DictConfig) -> float | None:
    """Build what the configuration names, run its pipeline and return the headline number.

    Raises:
        InputError: The input cannot be worked with.
    """
    check_paths(cfg)
    with as_typed(cfg), guard_disk(written(cfg.paths, Path(cfg.paths.output))):
        return _run(cfg)


def _run(cfg: DictConfig) -> float | None:
    from moe_distill.store.identity import key

    if (look := current_look()) is not None:
        settled(cfg)
        say(look.at_run(cfg))
        return None
    output = Path(cfg.paths.output)
    # Before anything can fail, which the record of the attempt then says.
    command = shlex.join(["python", "-m", "moe_distill.run", *sys.argv[1:]])
    # Or a second run would write over the first one's tables.
    with (
        locked(output / ".run.lock", output_key(cfg.paths), refusal=_FREE),
        attempt(output, command) as tried,
    ):
        resolved, runtime, pipeline = _built(cfg)
        tried.work = key([pipeline, cfg.scale_name, cfg.paths.store])
        if _by_hand():
            _question(cfg)
            _foretell(cfg, pipeline, runtime)
        _open(runtime.tracker, pipeline, resolved)
        failed = True
        try:
            headline: dict[str, Any] = pipeline.run(runtime)
            failed = False
        finally:
            runtime.tracker.finish(failed)
        tried.headline = headline.get("accuracy")
    return tried.headline


def _by_hand() -> bool:
    """Say whether this is a run of its own: a sweep, which numbers its jobs, foretells all of them."""
    return HydraConfig.initialized() and OmegaConf.is_missing(HydraConfig.get().job, "num")


def _question(cfg: DictConfig) -> None:
    """Refuse a question that no row could answer; of a sweep, all rows to come are held against it."""
    from moe_distill.results.question import require_known

    require_known(
        hydra.utils.instantiate(cfg.question, _convert_="all"), [name.lstrip("+") for name in at_top()]
    )


def _foretell(cfg: DictConfig, pipeline: Any, runtime: Any) -> None:
    """Print what the run is going to cost, unless nothing is known of it or nothing is left to do."""
    from moe_distill.sweeps.forecast import format_forecast

    if pipeline.has_stages:
        say(
            format_forecast(
                [(pipeline, runtime.results)], str(cfg.trainer.accelerator), None, str(cfg.scale_name)
            )
        )


def _built(cfg: DictConfig) -> tuple[dict[str, Any], Any, Any]:
    """Return the resolved configuration once it was checked, the runtime and the pipeline."""
    resolved = settled(cfg)
    from moe_distill.data.sources.shared import Shelf

    runtime, pipeline = (hydra.utils.instantiate(cfg[n], _convert_="all") for n in ("runtime", "pipeline"))
    return resolved, runtime, pipeline.sharing(Shelf())


def _open(tracker: Any, pipeline: Any, resolved: dict[str, Any]) -> None:
    """Open the mirror of a job that is about a plan; a report or an import is no experiment."""
    from moe_distill.evaluation.headline import wandb_config
    from moe_distill.store.identity import key, word_of

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
    except Exception as error:  # inside the job, or Hydra adds lines of its own
        if (ours := own_error(error)) is not None:
            _fail(str(ours))
        if isinstance(error, HydraException | OmegaConfBaseException):
            _fail(one_line(error))
        if isinstance(error, LostRank):
            _fail(str(error), code=1)
        raise


def as_hydra_reads(arguments: list[str]) -> list[str]:
    """Return a command line's arguments as Hydra takes them."""
    plain = reordered([without_dashes(argument) for argument in arguments])
    sweeping = not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(plain)
    return [with_option_quoted(with_text_quoted(argument, sweeping)) for argument in plain]


def main() -> None:
    """Run from the command line.

    Errors of input end in one line and exit code 2, a signal that asks the run to end in one line and 128 +
    its number.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us, who say them in one line
    former = next((look for word, look in FORMER.items() if word in sys.argv[1:]), None)
    with stopping.heeding(), looking(current_look() or former):
        try:
            sys.argv = [sys.argv[0], *as_hydra_reads([word for word in sys.argv[1:] if word not in FORMER])]
            check_typed(sys.argv[1:])
            with showing(check_flags(sys.argv[1:])):
                _hydra_main()
        except (InputError, HydraException, OmegaConfBaseException) as error:
            _fail(str(own_error(error) or one_line(error)))
        except Exception as error:
            if isinstance(
                error, OSError
            ):  # of the folder that Hydra makes for the job before it hands over to us
                _refuse_folder(error)
            write_error(traceback_of(error))
            sys.exit(1)


def _refuse_folder(error: OSError) -> None:
    """Say which folder of Hydra's cannot be written to, if that is what failed."""
    typed = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    key = next((k for k in ("hydra.run.dir", "hydra.sweep.dir") if k in typed), "paths.runs")
    folder = Path(os.fsdecode(error.filename or typed.get(key, "runs")))  # a full disk names no file
    if not _in_job(error) and (ours := explained(error, {key: folder})) is not None:
        _fail(str(ours))


def _in_job(error: BaseException) -> bool:
    """Say whether an error was raised once the job had begun."""
    job = _hydra_main.__wrapped__.__code__
    return any(frame.f_code is job for frame, _ in traceback.walk_tb(error.__traceback__))


def _fail(message: str, code: int = 2) -> NoReturn:
    write_error(f"error: {message}")
    sys.exit(code)


if __name__ == "__main__":
    main()
