"""Read the JSON files in folders of runs: each is validated by a schema, or set aside as damaged.

They carry no checksum, unlike what lies in the store.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from moe_distill.store.damage import flaw_of_error, require_readable, set_aside

T = TypeVar("T")


def read_json(path: Path, schema: Callable[..., T]) -> T | None:
    """Return a JSON file's content as an object of a class, validated by its annotations, or None.

    A file that does not fit is set aside, with a printed line, and counts as missing. Entries that the class
    does not know, as files of other versions have them, are ignored.

    Args:
        path: The file; None is returned where there is none.
        schema: The class, such as a dataclass.

    Raises:
        PermissionError: The file may not be read, which is no damage.
    """
    try:
        require_readable(path)
        return adapter(schema).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        set_aside(path, flaw_of_error(error))
        return None


@functools.cache
def adapter(schema: Any) -> Any:
    """Return pydantic's validator of a class, made from its annotations."""
    from pydantic import TypeAdapter  # here, as its import takes a noticeable part of a program's start

    return TypeAdapter(schema)
