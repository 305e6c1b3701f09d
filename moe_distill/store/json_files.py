"""JSON files in folders of runs, which nothing seals: read as what they are to be, or set aside."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from moe_distill.store.damage import flaw_told, require_readable, set_aside

T = TypeVar("T")


def read_json(path: Path, schema: Callable[..., T]) -> T | None:
    """Return what a file says as an object of a class, by its annotations; None where there is no file.

    One that says something else is set aside, which is told in a line, and counts as missing. Whatever it has
    beside what the class takes, as files of other versions do, is left out.

    Raises:
        PermissionError: It may not be read, which is no damage.
    """
    try:
        require_readable(path)
        return _adapter(schema).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        set_aside(path, flaw_told(error))
        return None


@functools.cache
def _adapter(schema: Any) -> Any:
    from pydantic import TypeAdapter  # here, so that whoever reads no such file need not wait for it

    return TypeAdapter(schema)
