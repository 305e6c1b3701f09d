"""DC and DSA, which share their loops: iterations, matchings per iteration, epochs between matchings."""

from moe_distill.methods.presets.rows import DEFAULT, Published, Settings


def _loops(outer: int, inner: int) -> Settings:
    return {"iterations": 1001, "outer": outer, "inner": inner}


PRESETS = {
    DEFAULT: Published(
        "DC's program, at ipc 1, 10, 20, 30, 40 and 50 on every data set; the loop of iterations is "
        "inclusive. Not published: 2 to 9, where an epoch is one batch as at 10, so that a network takes as "
        "many steps between matchings.",
        {
            1: _loops(1, 1),
            **{ipc: _loops(ipc, 50) for ipc in range(2, 11)},
            20: _loops(20, 25),
            30: _loops(30, 20),
            40: _loops(40, 15),
            50: _loops(50, 10),
        },
    ),
}
