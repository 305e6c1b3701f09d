"""The exceptions a user sees as one line."""


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
