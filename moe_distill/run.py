"""The entry point: ``python -m moe_distill.run [overrides]``."""

import os
import re
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
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from moe_distill.arguments import aside, named, reordered, set_aside, with_text_quoted, without_dashes
from moe_distill.attempts import attempt
from moe_distill.checking import check_aside, check_here, check_split, listed, takes_of
from moe_distill.config import conf_dir, options, output_key, register, written
from moe_distill.disk import explained, guard_disk
from moe_distill.errors import InputError, LostRank
from moe_distill.locks import locked
from moe_distill.resolving import as_typed, check_paths, own_error, settled
from moe_distill.terminal import say, traceback_of, write_error

register()

_FREE = "a folder where no run works: wait, or set name="
_IN_DEFAULTS = re.compile(r"Error resolving interpolation '(.+)', possible interpolation keys: (.+)")
_GONE = re.compile(r"Interpolation key '(.+)' not found")
_NO_NODE = re.compile(r"node `(.+)` is not a container")
_APPEND, _OPEN = "To append to your config use +", "You must specify '"


def run(cfg: DictConfig) -> float | None:
    """Build what the configuration names, run its pipeline and return the headline number.

    Raises:
        InputError: The input cannot be worked with.
    """
    check_paths(cfg)
    with as_typed(cfg), guard_disk(written(cfg.paths, Path(cfg.paths.output))):
        return _run(cfg)


def _run(cfg: DictConfig) -> float | None:
    from moe_distill.pipelines.cells import identity

    if cfg.instead is not None:  # it looks at runs and is none
        _, runtime, pipeline = _built(cfg)
        return pipeline(runtime=runtime).get("accuracy")
    output = Path(cfg.paths.output)
    # Before anything can fail, which the record of the attempt then says.
    command = shlex.join(["python", "-m", "moe_distill.run", *sys.argv[1:]])
    # Or a second run would write over the first one's tables.
    with locked(output / ".run.lock", output_key(cfg.paths), refusal=_FREE), attempt(output, command) as tried:
        resolved, runtime, pipeline = _built(cfg)
        tried.work = identity(resolved["pipeline"], cfg.scale_name, cfg.paths.store)
        if _by_hand():
            _foretell(cfg, pipeline, runtime)
        _open(runtime.mirror, pipeline, resolved)
        failed = True
        try:
            headline: dict[str, Any] = pipeline(runtime=runtime)
            failed = False
        finally:
            runtime.mirror.finish(failed)
    return headline.get("accuracy")


def _by_hand() -> bool:
    """Say whether this is a run of its own: a sweep, which numbers its jobs, foretells all of them."""
    return HydraConfig.initialized() and OmegaConf.is_missing(HydraConfig.get().job, "num")


def _foretell(cfg: DictConfig, pipeline: Any, runtime: Any) -> None:
    """Print what the run is going to cost, unless nothing is known of it or nothing is left to do."""
    from moe_distill.pipelines.forecast import forecastable, told

    if forecastable(pipeline):
        say(told([(pipeline, runtime.results)], str(cfg.trainer.accelerator), None, str(cfg.scale_name)))


def _built(cfg: DictConfig) -> tuple[dict[str, Any], Any, Any]:
    """Return the resolved configuration once it was checked, the runtime and the pipeline."""
    resolved = settled(cfg)
    runtime, pipeline = (hydra.utils.instantiate(cfg[n], _convert_="all") for n in ("runtime", "pipeline"))
    return resolved, runtime, pipeline


def _open(mirror: Any, pipeline: Any, resolved: dict[str, Any]) -> None:
    """Open the mirror of a job that is about a plan; a report or an import is no experiment."""
    from moe_distill.identity import key
    from moe_distill.pipelines.headline import axes

    given = pipeline.keywords
    plan = given.get("plan") or next(iter(given.get("plans", {}).values()), None)
    if plan is not None:
        identity = key([resolved["name"], resolved["scale_name"], pipeline])
        mirror.open(pipeline.func.__name__, identity, axes(plan, resolved), resolved)


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def _hydra_main(cfg: DictConfig) -> float | None:
    try:
        check_aside(aside())
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
    """Return a command line's arguments as Hydra takes them, less those that are set aside."""
    plain = reordered([without_dashes(argument) for argument in arguments])
    sweeping = not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(plain)
    return [named(with_text_quoted(argument, sweeping)) for argument in set_aside(plain)]


def one_line(error: BaseException) -> str:
    """Return a configuration error of Hydra's as one line: what was asked for and what there is."""
    if isinstance(error, MissingConfigException) and error.options:
        group, name = _group_and_name(str(error.missing_cfg_file))
        return f"{group}={name}: one of {', '.join(error.options)}"
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(cause, InterpolationResolutionError):
        return _unresolved(cause)
    if found := _IN_DEFAULTS.match(lines[0]):
        return _taken_away(*found.groups())
    if isinstance(cause, OmegaConfBaseException):
        if lines[0].startswith("Error merging override "):
            return f"{lines[0].removeprefix('Error merging override ')}: {str(cause).splitlines()[0]}"
        if lines[-1].startswith(_APPEND) and cause.parent_node is not None:
            return no_such_key(lines[-1].removeprefix(_APPEND), cause.parent_node)
    if lines[0].startswith(_OPEN):
        group = lines[0].removeprefix(_OPEN).partition("'")[0]
        return f"{group}=???: one that is named, as what else was chosen leaves it open: {', '.join(lines[2:])}"
    kept = [
        line for line in lines if not line.startswith(("Config search path", "provider=", "Set the env", "See https"))
    ]
    inner = " ".join(str(cause).split())
    return " ".join(kept if cause is error else [*kept, f"({type(cause).__name__}: {inner})"])


def _taken_away(path: str, there: str) -> str:
    """Return which group's option was taken away that the path of a yaml, such as ``${method}/${data}``, is made of."""
    groups = re.findall(r"\$\{(\w+)\}", path)
    group = next((name for name in groups if name not in there.split(", ")), path)
    return f"{group}=null: one of {', '.join(options(group))}"


def _unresolved(error: InterpolationResolutionError) -> str:
    """Return what is wrong with the key that another one refers to: it was taken away, or is no node, or of no use."""
    said = str(error).splitlines()[0]
    if found := _GONE.search(said):
        return f"{found[1]}=null: a value, as {error.full_key} refers to it"
    if (found := _NO_NODE.search(said)) and error.parent_node is not None:
        value = OmegaConf.select(error.parent_node._get_root(), found[1])
        return f"{found[1]}={value}: settings by name, as {error.full_key} refers to one of them"
    return f"{error.full_key}: {said}"


def _group_and_name(file: str) -> tuple[str, str]:
    """Part the path of a yaml that is not there: the group is the longest that there is, the rest was typed."""
    parts = file.split("/")
    groups = ["/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
    group = next((one for one in groups if options(one)), groups[0] if groups else "")
    return group, file.removeprefix(f"{group}/")


def no_such_key(override: str, parent: Any) -> str:
    """Return what is wrong with an override of a key that a yaml does not list, whose object may take it all the same.

    Args:
        override: As typed.
        parent: The node that was to have the key.
    """
    path, _, name = override.partition("=")[0].rpartition(".")
    if not parent and (names := options(path)):
        return f"{path}=null: one of {', '.join(names)}"
    target = parent.get("_target_") if parent and OmegaConf.is_dict(parent) else None
    takes = takes_of(target) if isinstance(target, str) else []
    if name in takes:
        return f"{override}: with a plus in front, +{override}, as the yaml leaves it at its default"
    return f"{override}: no such key; there are {listed({*(parent or ()), *takes})}"


def main() -> None:
    """Run from the command line.

    Errors of input end in one line and exit code 2, a signal that asks the run to end in one line and 128 + its number.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach us, who say them in one line
    with stopping.heeding():
        try:
            sys.argv = [sys.argv[0], *as_hydra_reads(sys.argv[1:])]
            _hydra_main()
        except (InputError, HydraException, OmegaConfBaseException) as error:
            _fail(str(own_error(error) or one_line(error)))
        except Exception as error:
            if isinstance(error, OSError):  # of the folder that Hydra makes for the job before it hands over to us
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
