"""The store in one process, and tables; ``test_records_failures.py`` has kills and full disks."""

import csv
import dataclasses
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

import moe_distill
from moe_distill.results.frames import texts_of
from moe_distill.results.row_files import merge_rows, write_csv
from moe_distill.store import identity
from moe_distill.store import store as records
from moe_distill.store.identity import key
from moe_distill.store.store import Store, write_json


def put(text="42", more=None):
    def make(folder):
        (folder / "value").write_text(text)
        return more

    return make


def never(folder):
    raise AssertionError("made twice")


def test_an_artifact_is_made_once_and_found_later(tmp_path):
    store, begin = Store(tmp_path), time.time()
    assert store.find("thing", {"a": 1}) is None
    path = store.obtain("thing", {"a": 1}, put(more={"cost": 3}))
    assert path == tmp_path / "thing" / key({"a": 1}) and (path / "value").read_text() == "42"
    later = Store(str(tmp_path))
    assert later.obtain("thing", {"a": 1}, never) == later.find("thing", {"a": 1}) == path
    assert store.made == [f"thing {path.name[:8]}"] and later.made == []
    told = store.manifest(path)
    assert begin <= told.pop("finished") <= time.time()
    assert (
        told.pop("files") == {"value": hashlib.sha256(b"42").hexdigest()} and len(told.pop("checksum")) == 64
    )
    assert told == {
        "schema": identity.SCHEMA,
        "identity": {"a": 1},
        "settings": {"a": 1},
        "commit": records.commit(),
        "cost": 3,
    }
    assert store.find("other", {"a": 1}) is None and store.find("thing", {"a": 2}) is None


def test_every_file_is_on_the_disk_before_its_manifest_says_so(tmp_path, monkeypatch):
    """Else a machine that loses power may keep the manifest and lose what it speaks of."""
    kept, inner = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (kept.append(Path(f"/proc/self/fd/{file}").readlink()), inner(file))
    )

    def make(folder):
        (folder / "deep").mkdir()
        for name in ("value", "deep/table.csv"):
            (folder / name).write_text("42")

    Store(tmp_path).obtain("thing", {}, make)
    names = [path.name for path in kept]
    assert sorted(names[:2]) == ["table.csv", "value"] and names[2].startswith(".manifest.json")
    assert names[3:] == ["thing"]  # the folder, so that the artifact's own name is there too


def test_a_failing_make_leaves_nothing_but_its_work(tmp_path):
    store = Store(tmp_path)

    def fails(folder):
        (folder / "value").write_text("half")
        (store.work("thing", 1) / "last.ckpt").write_text("checkpoint")
        raise ZeroDivisionError("as it is")

    with pytest.raises(ZeroDivisionError, match="as it is"):
        store.obtain("thing", 1, fails)
    assert store.find("thing", 1) is None and list((tmp_path / "thing").iterdir()) == [] and store.made == []
    assert (store.work("thing", 1) / "last.ckpt").read_text() == "checkpoint"
    store.obtain("thing", 1, put())
    assert list((tmp_path / "work").iterdir()) == []


def test_json_is_replaced_whole_and_sorted(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [None, 0.1]})
    assert json.loads(path.read_text()) == {"a": [None, 0.1], "b": 1} and path.read_text().index('"a"') < 5
    with pytest.raises(TypeError):
        write_json(path, {"c": object()})
    assert json.loads(path.read_text())["b"] == 1


@dataclasses.dataclass
class Row:
    config_hash: str
    a: str
    b: str


def test_tables_are_written_in_their_columns_and_read_back(tmp_path):
    path, hard = tmp_path / "a.csv", 'α, "β"\nγ'
    write_csv(
        path, [{"config_hash": "1", "b": hard}, {"b": 0.1, "config_hash": "2"}], ["config_hash", "b", "c"]
    )
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["config_hash", "b", "c"], ["1", hard, ""], ["2", "0.1", ""]]
    with pytest.raises(ValueError, match="unknown"):
        write_csv(path, [{"unknown": 1}], ["config_hash"])
    assert len(merge_rows([path], Row)) == 2


def test_merged_rows_stand_once_in_the_order_first_met(tmp_path):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    write_csv(first, [{"config_hash": h, "a": f"first {h}"} for h in "ba"], ["config_hash", "a"])
    write_csv(
        second, [{"config_hash": h, "a": f"second {h}", "b": 1} for h in "cab"], ["b", "a", "config_hash"]
    )
    assert texts_of(merge_rows([first, second], Row)) == [
        {"config_hash": "b", "a": "first b", "b": ""},
        {"config_hash": "a", "a": "first a", "b": ""},
        {"config_hash": "c", "a": "second c", "b": "1"},
    ]
    assert merge_rows([], Row).is_empty()


def test_commit_names_the_head_its_changes_and_outside_git_the_version(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    code = package / "records.py"
    code.write_text("1")
    monkeypatch.setattr(records, "__file__", str(code))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert records.commit.__wrapped__() == moe_distill.__version__
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x", "--no-gpg-sign"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert records.commit.__wrapped__() == head[:12]
    (tmp_path / "elsewhere").write_text("new")
    assert records.commit.__wrapped__() == head[:12]
    code.write_text("2")
    assert records.commit.__wrapped__() == head[:12] + "+"


def test_what_a_run_that_was_stopped_once_it_had_finished_left_behind_goes(tmp_path):
    store = Store(tmp_path)
    store.obtain("set", {"a": 1}, lambda _: None)
    (store.work("set", {"a": 1}) / "last.ckpt").touch()
    store.obtain("set", {"a": 1}, lambda _: None)
    assert not list(tmp_path.glob("work/*")) and store.count_made("set") == 1
