"""The exceptions a user sees as one line, and how such a line is written."""

import sys


class InputError(ValueError):
    """Input that cannot be worked with; the entry point prints its message as one line and exits with 2.

    Args:
        key: The configuration key (or file) at fault, as the user would write it.
        value: What it was.
        allowed: What would be accepted.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        self.key, self.value, self.allowed = key, value, allowed
        super().__init__(f"{key}={value}: {' '.join(allowed.split())}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        return type(self), (self.key, self.value, self.allowed)


class LostRank(RuntimeError):
    """A process of a run over several has died or hangs; the entry point prints one line and exits with 1."""


def write_error(line: str) -> None:
    """Write a line to the terminal, below any progress bar that is open."""
    if tqdm := getattr(sys.modules.get("tqdm"), "tqdm", None):  # where it is not imported, there are no bars
        for bar in [*getattr(tqdm, "_instances", ())]:
            bar.leave = True
            bar.close()
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
