"""Stores of an earlier version: what they hold is found under the keys of now, in one pass, and nothing is
lost.

The fixture holds settings as version 0.1.0 stored them, with the keys under which today's code was seen to
find them.
"""

import copy
import hashlib
import json
import os
from pathlib import Path

import pytest

from moe_distill.store import identity
from moe_distill.store.damage import content_checksum, flaw_of
from moe_distill.store.identity import key
from moe_distill.store.rekeying import MARKER, NotFoundAgain, converted
from moe_distill.store.store import Store

FORMER = json.loads((Path(__file__).parents[1] / "golden" / "schema_1.json").read_text())
SETS = [one for one in FORMER if one["kind"] == "set"]


def former_key(settings):
    text = json.dumps({"schema": 1, "settings": settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def put(root, one, content="numbers"):
    """Leave an artifact as an earlier version did; return its folder."""
    folder = root / one["kind"] / former_key(one["settings"])
    folder.mkdir(parents=True)
    (folder / "value").write_text(content)
    files = {"value": hashlib.sha256(content.encode()).hexdigest()}
    manifest = {"schema": 1, "settings": one["settings"], "cost": {"seconds": 1.0}, "files": files}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "checksum": content_checksum(manifest)}))
    return folder


def method_of(one):
    return one["settings"]["roster"][0]["method"]["target"].rpartition(".")[2]


@pytest.mark.parametrize("one", FORMER, ids=lambda one: one["kind"])
def test_what_was_stored_has_the_key_of_now(one):
    assert key(converted(one["settings"])) == one["key"]


def test_a_store_is_put_in_order_when_it_is_opened_and_only_then(tmp_path, capsys):
    for one in FORMER:
        put(tmp_path, one)
    store = Store(tmp_path)
    assert f"{len(FORMER)} artifacts of an earlier version have their new names" in capsys.readouterr().out
    for one in FORMER:
        folder = store.at(one["kind"], one["key"])
        assert (folder / "value").read_text() == "numbers" and flaw_of(folder) is None
        assert store.read_metadata(folder, cost=dict) == {"cost": {"seconds": 1.0}}
    assert (tmp_path / MARKER).read_text() == f"{identity.SCHEMA}\n"
    names = sorted(tmp_path.rglob("*"))
    Store(tmp_path)
    assert sorted(tmp_path.rglob("*")) == names and not capsys.readouterr().out


def test_a_new_store_has_nothing_to_be_put_in_order(tmp_path):
    Store(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_store_of_now_that_may_not_be_written_can_be_read(tmp_path, monkeypatch):
    made = Store(tmp_path).obtain("thing", {"a": 1}, lambda folder: None)
    assert (tmp_path / MARKER).read_text() == f"{identity.SCHEMA}\n"
    (tmp_path / MARKER).unlink()

    def refused(*_, **__):
        raise PermissionError

    monkeypatch.setattr("moe_distill.store.rekeying.locked", refused)
    assert Store(tmp_path).find("thing", {"a": 1}) == made


@pytest.mark.parametrize("revised", ["IDC", "IDM", "MTT", "FTD", "DATM"])
def test_what_was_made_before_its_method_was_revised_is_not_found(tmp_path, revised):
    one = copy.deepcopy(next(one for one in SETS if method_of(one) == revised))
    for member in one["settings"]["roster"]:
        assert member.pop("revision") == 1
    with pytest.raises(NotFoundAgain):
        converted(one["settings"])
    folder = put(tmp_path, one)
    Store(tmp_path)
    assert folder.is_dir()


def test_sets_that_dm_distilled_class_by_class_through_batch_norm_are_not_found():
    of_dm = [one for one in SETS if method_of(one) == "DM"]
    batch = [one for one in of_dm if one["settings"]["network"].get("norm") == "batch"]
    assert 0 < len(batch) < len(of_dm)
    for one in batch:
        former = copy.deepcopy(one["settings"])
        for member in former["roster"]:
            assert member.pop("revision") == 1
        with pytest.raises(NotFoundAgain):
            converted(former)


@pytest.mark.parametrize("damage", ["{", '{"schema": 1}', '{"schema": 2, "settings": {}}', "[]", "a pipe"])
def test_what_is_damaged_stays_where_it_is(tmp_path, damage):
    folder, other = put(tmp_path, FORMER[0]), put(tmp_path, FORMER[1])
    (folder / "manifest.json").unlink()
    if damage == "a pipe":
        os.mkfifo(folder / "manifest.json")
    else:
        (folder / "manifest.json").write_text(damage)
    Store(tmp_path)
    assert folder.is_dir() and not other.exists()


def test_a_plug_in_that_cannot_be_imported_keeps_no_store_from_opening(tmp_path, monkeypatch, capsys):
    (tmp_path / "lost_library.py").write_text("raise OSError('a shared library is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    one = {"kind": "thing", "settings": {"target": "lost_library.Mine", "a": 1}}
    folder = put(tmp_path / "store", one)
    Store(tmp_path / "store")
    assert folder.is_dir() and "1 stay as they are" in capsys.readouterr().out


def test_the_mark_of_a_later_version_stays(tmp_path):
    (tmp_path / MARKER).write_text(f"{identity.SCHEMA + 1}\n")
    Store(tmp_path).obtain("thing", {"a": 1}, lambda folder: None)
    assert (tmp_path / MARKER).read_text() == f"{identity.SCHEMA + 1}\n"
