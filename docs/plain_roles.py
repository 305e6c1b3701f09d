"""An extension of griffe: Sphinx's roles in docstrings, such as :func:`f`, become code."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([^`]+)`")


class PlainRoles(griffe.Extension):
    """Rewrites each docstring when its object has been read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = without_roles(obj.docstring.value)


def without_roles(text: str) -> str:
    """Return a docstring with roles as code; of names after a tilde only the last part is shown."""
    return _ROLE.sub(lambda m: f"`{m[2].rpartition('.')[2] if m[1] else m[2]}`", text)
