"""A forked job and a plain one leave the same bits in the store, and the same rows."""

from pathlib import Path

import pytest
from conftest_sweeping import swept

from moe_distill.results.attempts import attempts_of
from moe_distill.results.row_files import merge_rows
from moe_distill.results.schema import ResultRow

pytestmark = pytest.mark.slow

PAIR = ("shorten.dm.iterations=5", "seed=0,1", "name=both")
COSTS = ("train_seconds", "distill_seconds", "teacher_seconds", "peak_memory_mb")


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """The folders of two sweeps of two jobs, forked and plain ones."""
    made = {}
    for warm in (True, False):
        home = made[warm] = Path(tmp_path_factory.mktemp("warm" if warm else "plain"))
        done = swept(home, *PAIR, f"hydra.launcher.warm={warm}")
        assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    return made


def rows(home):
    """Return the rows of a sweep, but for what they cost."""
    return merge_rows([home / "runs" / "both" / "results.csv"], ResultRow).drop(*COSTS).to_dicts()


def tensors(home):
    """Return every file of numbers in the store, by the kind and key of its artifact."""
    store = home / "runs" / "store"
    return {path.relative_to(store): path.read_bytes() for path in store.glob("*/*/*.safetensors")}


def test_rows_keys_and_tensors_are_equal(homes):
    forked, plain = homes[True], homes[False]
    assert rows(forked) == rows(plain) and len(rows(plain)) >= 2
    assert tensors(forked) == tensors(plain)
    assert {path.parts[0] for path in tensors(plain)} >= {"set", "teacher"}


def test_each_job_records_one_attempt_and_its_headline_number(homes):
    for home in homes.values():
        jobs = sorted(path.parent for path in home.glob("runs/both/*/console.log"))
        tried = [attempts_of(job) for job in jobs]
        assert [[one.outcome for one in each] for each in tried] == [["finished"]] * 2
        assert all(0 <= each[0].headline <= 1 for each in tried)
        assert len({each[0].process for each in tried}) == 2


def test_forked_jobs_each_send_their_pictures_to_the_dashboard(tmp_path):
    done = swept(tmp_path, *PAIR, "logger=wandb", "hydra.launcher.warm=true")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [*tmp_path.glob("runs/both/*/wandb/offline-run-*")]
    assert [bool([*run.glob("files/media/**/*.png")]) for run in runs] == [True, True]
