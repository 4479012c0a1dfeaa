"""Figures show the numbers they are given, the same each time, and leave matplotlib as it was."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from d3s2.report.drawing import STYLES, VARIABLES, to_png, to_svg
from d3s2.report.figures import (
    ClassFrequencies,
    EnergyTrace,
    class_figure,
    energy_figure,
    frequency_figure,
    miou_figure,
)
from d3s2.results.records import Results, Spread

FREQUENCIES = ClassFrequencies(
    ("hydrant", "sky", "tree"),
    {"distilled": (0.2, 1.0, 0.7), "all": (0.01, 0.98, 0.6), "random": (0.0, 1.0, 0.5)},
)


def dots(axes: Axes, label: str) -> list[tuple[float, float]]:
    line = next(line for line in axes.lines if line.get_label() == label)
    return list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def all_figures(results: Results) -> list[Figure]:
    values = np.random.default_rng(0).random((5, 8))
    return [
        frequency_figure(FREQUENCIES),
        class_figure(results, "compact-unet"),
        miou_figure(results, "compact-unet"),
        energy_figure([EnergyTrace("feature", "distilled", values)]),
    ]


def test_frequencies_are_sorted_by_the_full_set_on_a_log_scale() -> None:
    (axes,) = frequency_figure(FREQUENCIES).axes
    assert axes.get_xscale() == "log"
    assert names(axes) == ["sky", "tree", "hydrant"]
    assert dots(axes, "all real") == [(0.98, 0), (0.6, 1), (0.01, 2)]
    assert dots(axes, "distilled") == [(1.0, 0), (0.7, 1), (0.2, 2)]


def test_a_class_that_no_mask_holds_has_an_open_marker() -> None:
    (axes,) = frequency_figure(FREQUENCIES).axes
    assert dots(axes, "random real") == [(1.0, 0), (0.5, 1)]
    unfilled = [line for line in axes.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in unfilled] == [[2]]
    assert unfilled[0].get_markeredgecolor() == STYLES["random"].colour
    nowhere = float(unfilled[0].get_xdata()[0])
    assert axes.get_xlim()[0] < nowhere < 0.01
    assert axes.get_xticklabels()[0].get_text() == "none"


def test_every_name_of_many_classes_is_drawn() -> None:
    many = tuple(f"class {index}" for index in range(255))
    figure = frequency_figure(ClassFrequencies(many, {"all": tuple(np.linspace(1, 0.001, 255).tolist())}))
    drawn = [name for axes in figure.axes for name in names(axes)]
    assert drawn == list(many)
    # At least 13 points of height for a line of 9 points.
    rows = max(len(names(axes)) for axes in figure.axes)
    assert figure.get_figheight() * 72 / rows > 13


def test_class_scores_leave_out_what_was_not_measured(results: Results) -> None:
    (axes,) = class_figure(results, "compact-unet").axes
    assert names(axes) == ["sky", "car & van", "hydrant", "boat"]
    assert dots(axes, "distilled") == [(pytest.approx(0.56), 0), (pytest.approx(0.46), 1), (pytest.approx(0.36), 2)]
    weights = {label.get_text(): label.get_fontweight() for label in axes.get_yticklabels()}
    assert [name for name, weight in weights.items() if weight == "bold"] == ["hydrant"]


def test_miou_bars_have_means_deviations_and_seeds(results: Results) -> None:
    (axes,) = miou_figure(results, "compact-unet").axes
    assert names(axes) == ["random real", "distilled, unguided", "distilled", "all real"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.23, 0.40, 0.46, 0.80])
    whisker = axes.collections[2].get_segments()[0][:, 0]
    assert whisker == pytest.approx([0.46 - 0.02, 0.46 + 0.02])
    seeds = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert seeds[2] == [0.44, 0.48, 0.46]
    assert [text.get_text() for text in axes.texts] == ["23.0 %", "40.0 %", "46.0 %", "80.0 %"]


def test_a_failed_set_has_no_bar(results: Results) -> None:
    rows = tuple(replace(row, scores={}, failure="x") if row.name == "all" else row for row in results.sets)
    (axes,) = miou_figure(replace(results, sets=rows), "compact-unet").axes
    assert len(axes.patches) == 3


def test_a_student_that_learnt_nothing_has_a_scale(results: Results) -> None:
    rows = tuple(replace(row, scores={"miou": Spread(0.0, 0.0)}, per_seed={"miou": (0.0,) * 3}) for row in results.sets)
    (axes,) = miou_figure(replace(results, sets=rows), "compact-unet").axes
    assert axes.get_xlim() == (0, 1)


def test_energies_show_mean_and_band_and_skip_what_is_missing() -> None:
    values = np.random.default_rng(0).random((20, 6))
    values[3, 2] = np.nan
    values[:, 4] = np.nan
    figure = energy_figure(
        [EnergyTrace("segmentation", "distilled", values), EnergyTrace("feature", "distilled-unguided", values + 1)]
    )
    first, second = figure.axes
    expected = [np.nanmean(values[:, step]) for step in (0, 1, 2, 3, 5)]
    assert [x for x, _ in dots(first, "distilled")] == [1, 2, 3, 4, 6]
    assert [y for _, y in dots(first, "distilled")] == pytest.approx(expected)
    assert [y for _, y in dots(second, "distilled, unguided")] == pytest.approx([value + 1 for value in expected])
    band = first.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(max(np.nanpercentile(values[:, s], 90) for s in (0, 1, 2, 3, 5)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["segmentation energy", "feature energy"]


def test_an_energy_that_was_never_measured_has_no_panel() -> None:
    values = np.random.default_rng(0).random((3, 4))
    nothing = EnergyTrace("feature", "distilled", np.full((3, 4), np.nan))
    assert not nothing.measured
    assert len(energy_figure([EnergyTrace("segmentation", "distilled", values), nothing]).axes) == 1


def test_sets_of_other_names_come_last_in_a_look_of_their_own() -> None:
    shares = {"mine": (0.5, 0.5), "random": (0.4, 0.4), "all": (0.3, 0.3)}
    (axes,) = frequency_figure(ClassFrequencies(("a", "b"), shares)).axes
    labels = [label for line in axes.lines if not (label := str(line.get_label())).startswith("_")]
    assert labels == ["random real", "all real", "mine"]


def test_svg_is_well_formed_scales_and_takes_the_colours_of_the_page(results: Results) -> None:
    for figure in all_figures(results):
        text = to_svg(figure)
        root = ET.fromstring(text)
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text)) <= {"#000000", "#ffffff"}
        used = set(re.findall(r"var\((--\w+)\)", text))
        assert used
        assert used <= set(VARIABLES.values())
        assert "<metadata" not in text
    assert ">car &amp; van<" in to_svg(class_figure(results, "compact-unet"))


def test_figures_have_the_same_bytes_twice_and_settings_are_untouched(results: Results) -> None:
    before = dict(mpl.rcParams)
    first = [(to_png(figure, 60), to_svg(figure)) for figure in all_figures(results)]
    second = [(to_png(figure, 60), to_svg(figure)) for figure in all_figures(results)]
    assert first == second
    assert dict(mpl.rcParams) == before
    assert all(png.startswith(b"\x89PNG") for png, _ in first)
