"""The command ``moe-distill``, which is also ``python -m moe_distill``: the entry point of
:mod:`moe_distill.run`.
"""

from moe_distill import stopping


def main() -> None:
    """Run from the command line; a signal is heeded before the imports, which take seconds."""
    stopping.heed()
    from moe_distill.run import main as run

    run()


if __name__ == "__main__":
    main()
