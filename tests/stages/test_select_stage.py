"""Stage select: the settings of a run reach the selection."""

from pathlib import Path

import torch
from tiny_run import TINY

from d3s2.pipeline.run import Run
from d3s2.pipeline.select import choose_masks, read_selection, select_run
from d3s2.recipes import load_run


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
