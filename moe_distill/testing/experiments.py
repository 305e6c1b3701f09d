"""Conformance tests for experiments."""

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

# A sweep's status before it began; a single run has none then, which is said only once it was checked.
_NOT_RUN = "an experiment run before"


class ExperimentConformance:
    """What every experiment must satisfy: its jobs are valid, and their rows can answer its question.

    Attributes:
        experiment: The experiment's word, as in ``+experiment=mine``.
        runs: Whether it is run, which should take seconds at ``scale=smoke``.
        overrides: More settings of all its jobs, such as ``seeds=1``.
        config_dir: The folder of yamls that holds it; None if it is a plug-in's that is installed, or ours.
    """

    experiment: ClassVar[str]
    runs: ClassVar[bool] = False
    overrides: ClassVar[Sequence[str]] = ()
    config_dir: ClassVar[Path | None] = None

    def command(self, folder: Path, module: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """Return how a command for the experiment ended in a folder.

        Args:
            folder: The folder in which it is started.
            module: Such as ``moe_distill.run``.
            *flags: Flags in front of the overrides.
        """
        where = [] if self.config_dir is None else ["--config-dir", str(Path(self.config_dir).absolute())]
        settings = ["scale=smoke", "logger=none", "threads=1", "trainer=cpu", *self.overrides]
        line = [sys.executable, "-m", module, *where, *flags, f"+experiment={self.experiment}", *settings]
        # Modules beside the tests are found too; the variable would move the store out of the folder.
        kept = {name: value for name, value in os.environ.items() if name != "MOE_DISTILL_HOME"}
        env = {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)

    def test_every_job_is_valid_and_the_question_names_what_rows_have(self, tmp_path: Path) -> None:
        """The jobs are composed and checked as before a run; nothing is computed."""
        ended = self.command(tmp_path, "moe_distill.status")
        assert ended.returncode == 0 or _NOT_RUN in ended.stderr, ended.stderr

    def test_it_asks_in_a_sentence(self, tmp_path: Path) -> None:
        """The claim, with which its page begins, ends with a full stop or a question mark."""
        ended = self.command(tmp_path, "moe_distill.run", "--cfg", "job", "--package", "question.claim")
        assert ended.returncode == 0, ended.stderr
        claim = ended.stdout.strip().removesuffix("...").strip(" \n'\"")
        assert " " in claim and claim.endswith((".", "?")), claim

    def test_it_leaves_its_table_and_page(self, tmp_path: Path) -> None:
        """It is run whole, at smoke scale."""
        if not self.runs:
            pytest.skip("runs is False")
        ended = self.command(tmp_path, "moe_distill.run")
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        (page,) = tmp_path.glob("runs/*/report.html")
        assert page.stat().st_size > 1000
        with (page.parent / "results.csv").open() as file:
            accuracies = [float(row["accuracy_last"]) for row in csv.DictReader(file)]
        assert accuracies and all(0 <= accuracy <= 1 for accuracy in accuracies)
