"""Make ``dcor_library.npz``: what the library dcor says of inputs of more lengths than ``dcor_clom.npz`` has.

``uv run --no-project --with dcor==0.7 tests/golden/dcor_library.py``. The library is not among the packages
of the tests, as it compiles itself when imported: tens of seconds in each process, and on one machine a crash
in each.
"""

from pathlib import Path

import dcor
import numpy as np

rng = np.random.default_rng(0)
values = {}
for n, p, q in ((10, 1, 1), (23, 4, 2), (50, 64, 64)):
    x = rng.normal(size=(n, p))
    y = 0.7 * x @ rng.normal(size=(p, q)) + 0.5 * rng.normal(size=(n, q))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y)]
    case = f"n{n}_p{p}_q{q}"
    values |= {
        f"{case}/X": x,
        f"{case}/Y": y,
        f"{case}/b_dcor2": dcor.distance_correlation_sqr(x, y),
        f"{case}/b_dcor2_of_unit_rows": dcor.distance_correlation_sqr(*unit),
        f"{case}/u_dcor2": dcor.u_distance_correlation_sqr(x, y),
        f"{case}/b_dcov2": dcor.distance_covariance_sqr(x, y),
    }
x, y = rng.normal(size=(9, 4)), 1 + rng.normal(size=(6, 4))
values |= {"n9_m6_p4/X": x, "n9_m6_p4/Y": y, "n9_m6_p4/energy_distance": dcor.energy_distance(x, y)}
np.savez_compressed(Path(__file__).with_suffix(".npz"), **values)
