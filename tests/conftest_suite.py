"""Whole runs: a configuration at smoke scale, run in this process in a folder of its own."""

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate

from moe_distill.results.frames import texts_of
from moe_distill.results.row_files import read_rows
from moe_distill.run import run
from moe_distill.sweeps.looking import looking

USUAL = {"scale": "smoke", "logger": "none", "threads": "1", "trainer": "cpu"}


class Suite:
    """Runs command lines below a folder: artifacts in ``store``, tables and pages in ``out``."""

    def __init__(self, home):
        self.home, self.store, self.out = home, home / "store", home / "out"

    def overrides(self, *given):
        """Return a command line: what is given, and the usual for what is not."""
        said = {o.lstrip("+").split("=")[0] for o in given}
        usual = {**USUAL, "paths.store": str(self.store), "paths.output": str(self.out)}
        return [*(f"{k}={v}" for k, v in usual.items() if k not in said), *given]

    def compose(self, *given, **more):
        """Return the configuration of a command line."""
        return compose("config", self.overrides(*given), **more)

    def __call__(self, *given):
        """Run a command line; return its headline number."""
        return run(self.compose(*given))

    def look(self, look, *given):
        """Run a command line of a command that looks at a run."""
        with looking(look):
            self(*given)

    def cells(self, *given):
        """Return the command lines of a sweep's jobs as Hydra splits them; one empty line where nothing is
        swept."""
        sweeper = instantiate(self.compose(*given, return_hydra_config=True).hydra.sweeper)
        parsed = OverridesParser.create().parse_overrides(
            [f"{k}={v}" for k, v in (sweeper.params or {}).items()]
        )
        return [list(job) for job in sweeper.split_arguments(parsed, max_batch_size=None)[0]] or [[]]

    def rows(self, folder=None):
        """Return the result rows of a run's folder as the texts of its table."""
        from moe_distill.results.schema import ResultRow

        return texts_of(read_rows((folder or self.out) / "results.csv", ResultRow))

    def artifacts(self, kind="*"):
        """Return the folders of finished artifacts."""
        return sorted(m.parent for m in self.store.glob(f"{kind}/*/manifest.json"))
