"""Rebuild tables and pages of runs: ``python -m moe_distill.report``, then the overrides of the run."""

from moe_distill.run import main as run
from moe_distill.sweeps.looking import REPORT, looking


def main() -> None:
    """Rebuild from the command line; exit codes are those of :func:`moe_distill.run.main`."""
    with looking(REPORT):
        run()


if __name__ == "__main__":
    main()
