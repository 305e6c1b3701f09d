"""CLoM: the weight α of its term, by the method that carries it."""

from collections.abc import Mapping

from moe_distill.methods.presets.rows import DEFAULT, nearest_row

# The default rows are CIFAR-10's.
ALPHAS: Mapping[str, Mapping[str, Mapping[int, float]]] = {
    "dc": {DEFAULT: {10: 1000.0, 50: 5000.0}, "cifar100": {10: 10000.0, 50: 1000.0}},
    "dm": {DEFAULT: {10: 2000.0, 50: 1000.0}, "cifar100": {10: 500.0, 50: 1.0}},
    "dsa": {DEFAULT: {10: 5000.0, 50: 1000.0}, "cifar100": {10: 10000.0, 50: 10.0}},
}
_OF_OTHERS = 1000.0


def alpha(method: str, data: str, ipc: int) -> float:
    """Return the weight of CLoM that was published for a method, or a usual one.

    Args:
        method: The method's name.
        data: The data set's name.
        ipc: Images per class of an expert.
    """
    rows_by_data = ALPHAS.get(method, {})
    rows = rows_by_data.get(data, rows_by_data.get(DEFAULT, {}))
    row = nearest_row(rows, ipc)
    return _OF_OTHERS if row is None else rows[row]
