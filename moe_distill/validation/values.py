"""Named annotations for parameters (``iterations: Count``), and a decorator that enforces them.

A configuration is checked by the same annotations before anything is built from it
(:mod:`moe_distill.config.checking`).
"""

import functools
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MinLen

from moe_distill.errors import FieldError
from moe_distill.validation.misfits import problem_of
from moe_distill.validation.wording import MOST, Where


def _is_called(name: str) -> bool:
    try:
        return callable(pkgutil.resolve_name(name))
    except (ImportError, AttributeError, ValueError):
        return False


def _is_split(text: str) -> bool:
    parts = re.fullmatch(r"([1-9]\d{0,9})x([1-9]\d{0,3})", text)
    return parts is not None and int(parts[1]) <= MOST and int(parts[2]) <= MOST_EXPERTS


def _is_hub_name(text: str) -> bool:
    # The Hub's rules: ASCII alone, at most 96 characters, no -- or .., and no end like that of a git address.
    word = r"\w([\w.-]{0,94}\w)?"
    matches = re.fullmatch(f"{word}/{word}", text, re.ASCII) is not None
    return matches and not re.search(r"--|\.\.|\.git$", text)


MOST_EXPERTS = 1000  # more is taken for a typing mistake
# The least standard deviation of a channel with pixels from 0 to 1 is one step of 8 bits: dividing by less
# would only amplify noise.
LEAST_STD = 1 / 255
Count = Annotated[int, Ge(1), Le(MOST)]
Whole = Annotated[int, Ge(0), Le(MOST)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Momentum = Annotated[float, Ge(0), Lt(1)]
Experts = Annotated[int, Ge(1), Le(MOST_EXPERTS)]
Students = Experts
Threads = Annotated[int, Ge(1), Le(1024)]
Side = Annotated[int, Ge(1), Le(224)]  # side of a feature map in pixels; images have at most 224
Pixels = Annotated[int, Ge(8), Le(224)]
Width = Annotated[float, Gt(0), Le(100)]
Few = Annotated[int, Ge(1), Le(10_000)]  # number of layers, heads or channels
Depth = Annotated[int, Ge(1), Le(100)]
Text = Annotated[str, MinLen(1)]
LocalFolder = Annotated[str, MinLen(1), Where(lambda path: "://" not in path, "a folder of this machine")]
FolderName = Annotated[
    str,
    Where(
        lambda name: bool(name.strip(". ")) and not set(name) & set("/\\\0") and len(name.encode()) <= 200,
        "the name of one folder",
    ),
]
Split = Annotated[str, Where(_is_split, "images per class and experts, such as 5x2, of at most 1000 experts")]
Hook = Annotated[str, Where(_is_called, "the dotted name of a function that can be imported")]
HubName = Annotated[
    str, Where(_is_hub_name, "<user>/<name> as the Hugging Face Hub has them, of letters, digits, - _ and .")
]
# Letters of identifiers in the Hub's list of licences; the list itself grows.
License = Annotated[
    str,
    Where(
        lambda name: re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name) is not None,
        "a licence as the Hugging Face Hub writes it, such as mit, cc-by-4.0, other or unknown",
    ),
]
# No Literal, as OmegaConf's structured configurations know none.
Pairing = Annotated[str, Where(lambda word: word in ("any", "same_class"), "any or same_class")]
Numerics = Annotated[str, Where(lambda word: word in ("exact", "bf16"), "exact or bf16")]
Row = Annotated[
    Any,  # a number in a yaml is an int, on a command line a text
    Where(lambda row: str(row).isdecimal() and int(row) >= 1, "a number of images per class, such as 10"),
]
# Settings by method, data set (or ``default``) and images per class: presets.rows of a configuration.
OwnRows = Mapping[str, Mapping[str, Mapping[Row, Mapping[str, Any]]]]
# Settings by method that a scale shortens; null for none.
Shortened = Mapping[str, Mapping[str, Any] | None]
T = TypeVar("T", bound=Callable[..., Any])


def checked(target: T) -> T:
    """Decorate a class or function so that it refuses arguments that its annotations do not allow.

    Raises:
        FieldError: When the decorated one is called; names the parameter.

    Example:
        >>> @checked
        ... def train(epochs: Count): ...
        >>> train(0)
        Traceback (most recent call last):
        moe_distill.errors.FieldError: epochs=0: a whole number of at least 1
    """
    call = target.__init__ if inspect.isclass(target) else target
    signature = inspect.signature(call)

    @functools.wraps(call)
    def first_checks(*args: Any, **kwargs: Any) -> Any:
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return call(*args, **kwargs)  # raises Python's own message about the missing argument
        if (problem := problem_of(target, arguments)) is not None:
            raise FieldError(problem.field, problem.value, problem.allowed)
        return call(*args, **kwargs)

    if inspect.isclass(target):
        # The class itself is returned, as a wrapper would break isinstance, pickling and subclasses.
        target.__init__ = first_checks  # type: ignore[method-assign]
        return target
    return typing.cast(T, first_checks)
