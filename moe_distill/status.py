"""How far a run or a sweep is: ``python -m moe_distill.status``, followed by the overrides that the run was
given.
"""

from moe_distill.run import main as run
from moe_distill.sweeps.looking import STATUS, looking


def main() -> None:
    """Look from the command line; ends as :func:`moe_distill.run.main` does."""
    with looking(STATUS):
        run()


if __name__ == "__main__":
    main()
