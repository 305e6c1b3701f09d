"""Result rows made up for tests: variants of known attributes whose accuracies are random."""

import itertools

import torch

from moe_distill.reports import answers
from moe_distill.results.frames import COLUMNS, frame_of, texts_of
from moe_distill.results.row_files import merge_rows
from moe_distill.results.schema import ResultRow
from moe_distill.seeding import stream

NETWORKS = ("convnet3", "vgg11", "alexnet")


def row(roster, **more):
    """Return a row of a roster such as ``dm5x2``."""
    method = roster.rstrip("0123456789x")
    ipc, noe = roster.removeprefix(method).split("x")
    own = {"method": method, "roster": roster, "ipc": ipc, "noe": noe, "dataset": "toys", "recipe": "dsa"}
    mixed = "paper" if noe != "1" else "none"
    return {**dict.fromkeys(COLUMNS, ""), **own, "diversity": mixed, "scale": "small", **more}


def students(
    name, rosters, networks=NETWORKS, distill_seeds=(0,), seeds=range(3), lost=0.0, diverged=0.0, **more
):
    """Return rows of random accuracies; whole students are lost, or diverged, with those probabilities."""
    rng = stream(0, "rows", name)
    rows = []
    for roster, network, d, s in itertools.product(rosters, networks, distill_seeds, seeds):
        value, gone, broken = torch.rand(3, generator=rng, dtype=torch.float64).tolist()
        accuracy = "nan" if broken < diverged else repr(value)
        about = {
            "architecture": network,
            "distill_seed": str(d),
            "seed": str(s),
            "set_fingerprint": f"{roster} {d}",
        }
        if gone >= lost:
            rows.append(row(roster, **about, accuracy_last=accuracy, **more))
    return rows


def texts_in(tables, schema=ResultRow):
    """Return the rows of tables of runs as texts."""
    return texts_of(merge_rows(tables, schema))


def answers_of(rows, question):
    """Return what rows that are no frame yet answer."""
    return answers.answers_of(frame_of(rows), question)


def to_come(rows):
    """Return the rows as they stand for students that are not trained yet."""
    seen = ("accuracy_last", "iterations", "dcor2_unbiased", "epochs", "images_decoded", "set_fingerprint")
    return [{**r, **dict.fromkeys(seen)} for r in rows]


def awaiting(*keys, **columns):
    """Return rows that a cell awaits, by their keys."""
    return tuple({"config_hash": key, **columns} for key in keys)


def trained(roster, key, accuracy="0.5", **more):
    """Return the row of a student as a run's table has it, every column filled that no row is without."""
    of_set = {"partition": "none", "init": "random", "iterations": "2", "fusion": "none"}
    of_student = {"architecture": "convnet3", "width": "0.25", "distill_seed": "0", "seed": "0"}
    reached = {
        "accuracy_last": accuracy,
        "accuracy_best": accuracy,
        "lr": "0.01",
        "epochs": "3",
        "steps": "3",
    }
    spent = {
        "images_decoded": "10",
        "distill_seconds": "1.5",
        "teacher_seconds": "0.5",
        "train_seconds": "2.5",
        "peak_memory_mb": "100.0",
    }
    where = {"device": "cpu", "dtype": "float32", "commit": "c1", "set_fingerprint": f"of {roster}"}
    return row(roster, **{**of_set, **of_student, **reached, **spent, **where, "config_hash": key, **more})
