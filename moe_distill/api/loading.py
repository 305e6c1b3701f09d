"""Load real data by the name of its data set."""

from typing import Any

from moe_distill.api.plain_errors import with_plain_errors
from moe_distill.api.session import session
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError


@with_plain_errors
def load_dataset(name: str, root: str | None = None, **options: Any) -> tuple[RealSet, RealSet]:
    """Return the training and the test images of a data set.

    Args:
        name: ``digits`` (no files needed), ``cifar10``, ``cifar100``, ``stl10``, ``tinyimagenet``,
            ``imagenette``, ``imagewoof``, ``imagenet100``, or ``folder`` for your own images.
        root: The folder of its files: torchvision's, or ``train/<class>/*`` and ``test/<class>/*``.
        **options: The data set's other settings, such as ``size=64``; and ``store``, whose folder ``data``
            keeps decoded images; and ``config_dir``, a folder of yamls of your own.

    Raises:
        InputError: There is no such data set, or its files cannot be read.

    Example:
        >>> import moe_distill as md
        >>> train, test = md.load_dataset("digits")
        >>> train
        RealSet digits (scikit-learn): 1197 images of 1 × 8 × 8 in 10 classes
    """
    if not isinstance(name, str):
        allowed = "the name of a data set; RealSet.from_dataset and its like take images of your own"
        raise InputError("name", type(name).__name__, allowed)
    more: dict[str, Any] = {name: options.pop(name) for name in ("store", "config_dir") if name in options}
    fields = {f"data.{field}": value for field, value in options.items()}
    if root is not None:
        fields["data.root"] = str(root)
    keywords = {"data": name, "method": "random", **more, "options": fields}
    try:
        with session(keywords, None) as opened:
            train, test = opened.configuration.build("data").load(opened.runtime.cache)
    except InputError as error:  # names the settings of the group data, which are arguments here
        allowed = error.allowed.replace("did you mean data=", "did you mean name=")
        allowed = allowed.replace("did you mean data.", "did you mean ")
        key = "name" if error.key == "data" else error.key.removeprefix("data.")
        raise InputError(key, error.value, allowed) from error
    return train, test
