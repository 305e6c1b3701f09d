"""Tables and pages again: ``python -m moe_distill.report``, followed by the overrides that the run was
given.
"""

from moe_distill.run import main as run
from moe_distill.sweeps.looking import REPORT, looking


def main() -> None:
    """Rebuild from the command line; ends as :func:`moe_distill.run.main` does."""
    with looking(REPORT):
        run()


if __name__ == "__main__":
    main()
