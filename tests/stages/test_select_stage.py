"""Stage select: the settings of a run reach the selection."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import TINY

from d3s2.base.errors import UsageError
from d3s2.pipeline.fitting.features import teacher_features
from d3s2.pipeline.run import Run
from d3s2.pipeline.select import choose_masks, read_selection, select_run
from d3s2.recipes import load_run
from d3s2.selection import select_masks, with_image_groups


def run_with(folder: Path, *words: str) -> Run:
    return Run(load_run("scenes", [*TINY, *words]), folder, torch.device("cpu"))


def test_groups_count_as_much_as_they_are_told_and_the_choice_is_kept(tmp_path: Path) -> None:
    run = run_with(tmp_path, "select.group_by='(.)$'", "select.group_weight=500")
    census, kept = run.census, select_run(run)
    last = [item_id[-1] for item_id in kept.ids]
    assert len(set(last)) == min(len(last), len({item_id[-1] for item_id in census.ids}))
    assert kept.settings["class_weights"]["group 0"] == 500
    assert read_selection(tmp_path).ids == kept.ids
    assert len(census.class_names) == run.train_data.space.num_classes  # groups are the selection's alone


def test_a_group_that_classes_alone_leave_out_is_in_the_balanced_set(tmp_path: Path) -> None:
    plain = run_with(tmp_path)
    grouped = run_with(tmp_path, "select.group_by='(.).$'", "select.group_weight=500")
    assert {item_id[-2] for item_id in choose_masks(plain, "class-balanced").ids} == {"0", "1"}
    assert {item_id[-2] for item_id in choose_masks(grouped, "class-balanced").ids} == {"0", "1", "2"}


@pytest.mark.parametrize("strips", [1, 2])
def test_looks_of_the_images_in_the_teachers_features_are_covered(tmp_path: Path, strips: int) -> None:
    words = (f"select.strips={strips}", "select.image_groups=4", "select.group_weight=100")
    run = run_with(tmp_path, *words)
    looks = with_image_groups(run.census, teacher_features(run), 4)
    columns = [name for name in looks.class_names if name.startswith("group look ")]
    held = dict(zip(looks.ids, looks.pixels.toarray()[:, -len(columns) :].argmax(axis=1), strict=True))
    chosen = select_run(run).ids
    assert len({held[source] for item_id in chosen for source in item_id.split("|")}) == len(columns)


def test_a_method_that_goes_by_features_takes_those_of_the_teacher_where_asked(tmp_path: Path) -> None:
    run = run_with(tmp_path, "select.method=herding", "select.features=teacher")
    features = teacher_features(run)
    chosen = select_run(run)
    assert chosen.ids == select_masks(run.census, len(chosen.ids), method="herding", features=features).ids
    assert np.isfinite(features).all()
    assert chosen.settings["features"] == "given"


def test_features_of_whole_images_are_not_those_of_strips(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"select.features is teacher.*set select.features to census"):
        run_with(tmp_path, "select.method=herding", "select.features=teacher", "select.strips=2")
