"""What a scale may shorten, and what it may not lengthen."""

from pathlib import Path

import pytest

from moe_distill.config.folders import conf_dir

SCALES = sorted(p.stem for p in (Path(conf_dir()) / "scale").glob("*.yaml"))


@pytest.mark.parametrize("scale", SCALES)
def test_no_scale_trains_longer_on_all_real_data_than_is_published(suite, scale):
    epochs = suite.compose("recipe=full_data", f"scale={scale}").recipe.epochs
    assert 0 < epochs <= suite.compose("recipe=full_data", "scale=paper").recipe.epochs == 50


@pytest.mark.parametrize(("scale", "epochs"), [("gpu", 300), ("overnight", 300), ("small", 100)])
def test_students_of_distilled_sets_train_as_long_as_the_scale_says(suite, scale, epochs):
    assert suite.compose("recipe=dsa", f"scale={scale}").recipe.epochs == epochs


@pytest.mark.parametrize(("scale", "epochs"), [("paper", 50), ("gpu", 50), ("small", 2)])
def test_scores_hold_sets_against_real_images_trained_as_long_as_published_but_on_small(suite, scale, epochs):
    cfg = suite.compose("pipeline=score", f"scale={scale}")
    assert cfg.pipeline.real.epochs == epochs
    assert cfg.features.recipe.epochs == {"paper": 50, "gpu": 5, "small": 2}[scale]
