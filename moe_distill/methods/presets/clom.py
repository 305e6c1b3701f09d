"""CLoM: the published weight α of its term, by the method it is added to."""

from collections.abc import Mapping

from moe_distill.methods.presets.rows import DEFAULT, nearest_row

# The default rows are CIFAR-10's.
ALPHAS: Mapping[str, Mapping[str, Mapping[int, float]]] = {
    "dc": {DEFAULT: {10: 1000.0, 50: 5000.0}, "cifar100": {10: 10000.0, 50: 1000.0}},
    "dm": {DEFAULT: {10: 2000.0, 50: 1000.0}, "cifar100": {10: 500.0, 50: 1.0}},
    "dsa": {DEFAULT: {10: 5000.0, 50: 1000.0}, "cifar100": {10: 10000.0, 50: 10.0}},
}
_OF_OTHERS = 1000.0  # for methods without a published weight


def alpha(method: str, data: str, ipc: int) -> float:
    """Return the weight of CLoM that was published for a method, or 1000 if none was.

    Args:
        method: The method's name.
        data: The data set's name.
        ipc: Images per class of an expert; the row nearest in ratio is used.

    Example:
        >>> alpha("dm", "cifar10", ipc=10)
        2000.0
    """
    rows_by_data = ALPHAS.get(method, {})
    rows = rows_by_data.get(data, rows_by_data.get(DEFAULT, {}))
    row = nearest_row(rows, ipc)
    return _OF_OTHERS if row is None else rows[row]
