"""Progress of a run or a sweep: ``python -m moe_distill.status``, then the overrides of the run."""

from moe_distill.run import main as run
from moe_distill.sweeps.looking import STATUS, looking


def main() -> None:
    """Print the progress from the command line; exit codes are those of :func:`moe_distill.run.main`."""
    with looking(STATUS):
        run()


if __name__ == "__main__":
    main()
