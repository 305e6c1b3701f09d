"""The command ``moe-distill``, the same as ``python -m moe_distill``: runs :mod:`moe_distill.run`."""

from moe_distill import stopping


def main() -> None:
    """Run from the command line."""
    # Before the import below, which takes seconds in which Ctrl-C would print a traceback.
    stopping.install_handlers()
    from moe_distill.run import main as run

    run()


if __name__ == "__main__":
    main()
