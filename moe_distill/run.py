"""The entry point: ``moe-distill [overrides]``, the same as ``python -m moe_distill.run [overrides]``."""

import contextlib
import os
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

from moe_distill.config.arguments import as_hydra_reads
from moe_distill.config.choices import at_top
from moe_distill.config.flags import COMMANDS, TREE, check_flags, showing
from moe_distill.config.folders import check_folders, conf_dir, folders_of, searching
from moe_distill.config.overrides import check_here, check_split, check_typed
from moe_distill.config.refusals import one_line, unparsable
from moe_distill.config.resolving import check_paths, errors_as_typed, input_error_of, resolve_and_check
from moe_distill.config.schema import output_key, register, written_folders
from moe_distill.errors import InputError, LostRank
from moe_distill.results.attempts import attempt
from moe_distill.store.disk import as_input_error, explain_disk_errors
from moe_distill.store.identity import key
from moe_distill.store.locks import locked
from moe_distill.sweeps.looking import current_look, look_of, looking
from moe_distill.terminal import PROGRAM, command_line, say, say_at_once, show, traceback_of, write_error

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
    command = command_line(sys.argv[1:])
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
        from moe_distill.pipelines.tracked import tracked  # here, as it imports torch

        with tracked(pipeline, runtime, resolved), _profiling(cfg.profile, output):
            headline: dict[str, Any] = pipeline.run(runtime)
        record.headline = headline.get("accuracy")
    return record.headline


def _profiling(wanted: bool, output: Path) -> contextlib.AbstractContextManager[None]:
    """Return what profiles a block, if that is wanted."""
    if not wanted:
        return contextlib.nullcontext()
    from moe_distill.context.profiling import profiled  # here, as it imports torch

    return profiled(output)


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


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def _hydra_main(cfg: DictConfig) -> float | None:
    try:
        check_here(HydraConfig.get())
        check_split(HydraConfig.get().overrides.task)
        return run(cfg)
    except Exception as error:  # here, as outside of this function Hydra prints its own report first
        if (ours := input_error_of(error)) is not None:
            _fail(str(ours))
        if isinstance(error, HydraException | OmegaConfBaseException):
            _fail(one_line(error))
        if isinstance(error, LostRank):
            _fail(str(error), code=1)
        raise


def main() -> None:
    """Run from the command line.

    Invalid input ends the process with one line and exit code 2, a stop signal with one line and exit code
    128 plus the signal's number, any other error with a traceback and exit code 1.
    """
    # Hydra then raises errors instead of printing them, and they are reported in one line below.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    look, words = look_of(sys.argv[1:])
    # The folders around everything, so that errors, too, know the options that are there.
    with stopping.graceful_stop(), looking(current_look() or look), searching(folders_of(words)):
        try:
            sys.argv = [sys.argv[0], *as_hydra_reads([word for word in words if word != TREE])]
            check_typed(sys.argv[1:])
            flags = check_flags(sys.argv[1:])
            check_folders(flags.config_dir)
            if _is_answered(flags, TREE in words):
                return
            with showing(flags.package):
                _hydra_main()
        except BrokenPipeError:  # as by `| head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except (InputError, HydraException, OmegaConfBaseException) as error:
            _fail(str(input_error_of(error) or one_line(error)))
        except Exception as error:
            if (line := unparsable(error)) is not None:
                _fail(line)
            if isinstance(error, OSError):
                _refuse_folder(error)
            write_error(traceback_of(error))
            sys.exit(1)


def _is_answered(flags: Any, as_tree: bool) -> bool:
    """Print what a command line asks for that starts nothing, and return True; False if it is for Hydra."""
    if flags.help:
        from moe_distill.config.help import help_text

        say_at_once(help_text(sys.argv[1:]))
        return True
    if as_tree:
        from moe_distill.config.tree import tree_of

        show(tree_of(sys.argv[1:]))
        return True
    return bool(flags.shell_completion) and _is_completed(*flags.overrides)


def _is_completed(request: str) -> bool:
    """Print what a shell asks for to complete command lines, and return True; False if Hydra is to print it.

    Args:
        request: Such as ``query=bash`` or ``install=fish``.
    """
    from moe_distill.config.completion import ZSH, answer

    if request.startswith("query="):
        say_at_once(answer(os.environ["COMP_LINE"], os.environ.get("COMP_POINT", ""), COMMANDS))
    elif request == "install=zsh":
        say_at_once(ZSH)
    else:
        sys.argv[0] = PROGRAM  # which Hydra's script completes: under python -m, it would be all of python
        return False
    return True


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
