"""The entry point: ``python -m moe_distill.run [overrides]``."""

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config import conf_dir, register
from moe_distill.errors import InputError

register()


def run(cfg: DictConfig) -> float | None:
    """Build what the configuration names, run its pipeline and return the headline number.

    Raises:
        InputError: The input cannot be worked with.
    """
    runtime = hydra.utils.instantiate(cfg.runtime, _convert_="all")
    pipeline = hydra.utils.instantiate(cfg.pipeline, _convert_="all")
    runtime.mirror.open(str(cfg.pipeline._target_).rsplit(".", 1)[-1], OmegaConf.to_container(cfg, resolve=True))
    try:
        headline: dict[str, Any] = pipeline(runtime=runtime)
    finally:
        runtime.mirror.finish()
    return headline.get("accuracy")


def foretell(configs: Sequence[DictConfig]) -> str:
    """Return what a sweep's jobs are going to cost; the launcher asks before it starts them."""
    from moe_distill.pipelines.forecast import told
    from moe_distill.records import Store

    cells = []
    for cfg in configs:
        built = {n: hydra.utils.instantiate(cfg[n], _convert_="all") for n in ("plan", "baselines", "exam")}
        cells.append((built["plan"], list(built["baselines"].values()), built["exam"], Store(cfg.paths.store)))
    return told(cells)


def _own(error: BaseException | None) -> InputError | None:
    """Return the error of ours that Hydra wrapped, if there is one."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def _hydra_main(cfg: DictConfig) -> float | None:
    try:
        return run(cfg)
    except Exception as error:
        if (ours := _own(error)) is None:
            raise
        _fail(str(ours))  # inside the job, or Hydra adds lines of its own


def reordered(arguments: list[str]) -> list[str]:
    """Put ``-m`` first: argparse wants the overrides in one piece."""
    flags = [a for a in arguments if a in ("-m", "--multirun")]
    return [*flags[:1], *(a for a in arguments if a not in ("-m", "--multirun"))]


def one_line(error: BaseException) -> str:
    """Return a configuration error of Hydra's as one line: what was asked for and what there is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line for line in lines if not line.startswith(("Config search path", "provider=", "Set the env", "See https"))
    ]
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    inner = " ".join(str(cause).split())
    return " ".join(kept if cause is error else [*kept, f"({type(cause).__name__}: {inner})"])


def main() -> None:
    """Run from the command line; errors of input end in one line and exit code 2."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach us, who say them in one line
    sys.argv = [sys.argv[0], *reordered(sys.argv[1:])]
    try:
        _hydra_main()
    except (InputError, HydraException, OmegaConfBaseException) as error:
        _fail(str(_own(error) or one_line(error)))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
