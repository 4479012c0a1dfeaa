"""Figures that compare sets show the numbers they are given, and are not drawn without what they compare."""

import csv
import io
from dataclasses import replace

import pytest

from d3s2.report.ablation_tables import ablation_csv, ablation_table
from d3s2.report.comparisons import (
    axis_figure,
    budget_figure,
    gain_figure,
    learning_figure,
    matrix_figure,
    tail_figure,
)
from d3s2.report.drawing import to_svg
from d3s2.report.page import ReportContent, render
from d3s2.results.ablation import Ablation, AblationRow
from d3s2.results.records import Results, Spread

UNET = "compact-unet"


def varied(results: Results) -> Ablation:
    rows = {row.name: row for row in results.sets}

    def row(axis: str, variant: str, share: float, name: str, energy: float | None) -> AblationRow:
        return AblationRow(
            axis,
            variant,
            (),
            share,
            {} if energy is None else {"segmentation": energy},
            None if energy is None else 4.0,
            rows[name],
        )

    return Ablation(
        rows=(
            row("reference", "recipe", 0.01, "random", None),
            row("reference", "recipe", 1.0, "all", None),
            row("strength", "0", 0.01, "distilled-unguided", 2.0),
            row("strength", "1", 0.01, "distilled", 1.0),
            row("budget", "1 %", 0.01, "distilled", 1.0),
            row("budget", "1 %", 0.01, "random", None),
            row("budget", "10 %", 0.1, "distilled", 1.0),
        ),
        dataset="scenes/val",
        config={},
        hardware=results.hardware,
        date=results.date,
        commit=None,
        command="d3s2 ablate scenes",
        versions={},
    )


def test_gains_are_points_over_random_with_the_most_frequent_class_first(results: Results) -> None:
    figure = gain_figure(results, UNET, shares=(0.1, 0.9, 0.5, 0.004))
    assert figure is not None
    (axes,) = figure.axes
    # boat was measured after neither set
    assert [label.get_text() for label in axes.get_yticklabels()] == ["car & van  90 %", "sky  10 %", "hydrant  0.4 %"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([23.0, 23.0, 23.0])
    assert [label.get_fontweight() for label in axes.get_yticklabels()] == ["normal", "normal", "bold"]


def test_a_gain_needs_both_sets(results: Results) -> None:
    alone = replace(results, sets=tuple(row for row in results.sets if row.name != "random"))
    assert gain_figure(alone, UNET) is None


def test_tail_and_head_stand_on_one_line(results: Results) -> None:
    figure = tail_figure(results, UNET)
    assert figure is not None
    (axes,) = figure.axes
    lines = [list(map(float, line.get_xdata())) for line in axes.lines if len(line.get_xdata()) == 2]
    # random: tail mIoU is half of 0.23; the others are sky and car, 0.33 and 0.23
    assert lines[0] == pytest.approx([0.115, 0.28])
    assert tail_figure(replace(results, sets=()), UNET) is None


def test_learning_curves_end_at_the_last_score_and_need_early_ones(results: Results) -> None:
    assert learning_figure(results, UNET) is None
    early = {"early_iterations": (100, 200), "early_miou": (Spread(0.1, 0.01), Spread(0.2))}
    rows = tuple(replace(row, **early) if row.name in ("random", "all") else row for row in results.sets)
    figure = learning_figure(replace(results, sets=rows), UNET)
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {"random real", "all real"}
    assert list(lines["all real"].get_xdata()) == [100, 200, 400]
    assert list(lines["all real"].get_ydata()) == pytest.approx([0.1, 0.2, 0.8])


def test_the_matrix_has_a_cell_a_set_and_student(results: Results) -> None:
    assert matrix_figure(results) is None
    more = tuple(replace(row, student="segformer-b0") for row in results.sets if row.name != "distilled")
    figure = matrix_figure(replace(results, sets=(*results.sets, *more)))
    assert figure is not None
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:4] == ["23.0 ± 2.6", "40.0 ± 1.0", "46.0 ± 2.0", "80.0 ± 2.0"]
    assert texts[4:] == ["23.0 ± 2.6", "40.0 ± 1.0", "–", "80.0 ± 2.0"]


def test_budget_curves_are_drawn_from_two_shares_on(results: Results) -> None:
    ablation = varied(results)
    figure = budget_figure(ablation, UNET)
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1 %", "10 %"]
    few = replace(ablation, rows=ablation.rows[:-1])
    assert budget_figure(few, UNET) is None


def test_variants_stand_beside_real_sets(results: Results) -> None:
    ablation = varied(results)
    figure = axis_figure(ablation, "strength", UNET)
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "1"]
    assert axis_figure(ablation, "window", UNET) is None
    assert to_svg(figure) == to_svg(axis_figure(ablation, "strength", UNET) or figure)


def test_the_table_of_variants_marks_the_best_of_each_axis(results: Results) -> None:
    table = ablation_table(varied(results))
    assert table.rows[3] == ("strength", "1", "distilled", "20", "46.0 ± 2.0", "23.0 ± 1.0", "2.00", "1.00", "4.0 s")
    assert table.emphasis == (3, 4)
    assert len(ablation_csv(varied(results)).splitlines()) == 8


def test_the_page_shows_each_axis(results: Results) -> None:
    page = render(ReportContent("variants", ablation=varied(results)))
    assert page.count("<h3>") == 2
    assert "scored on scenes/val" in page
    assert "<script" not in page


def test_variants_with_dollars_are_no_mathematics(results: Results) -> None:
    name = r"$\frac{"
    rows = tuple(replace(row, variant=name) for row in varied(results).rows)
    figure = axis_figure(replace(varied(results), rows=rows), "strength", UNET)
    assert figure is not None
    assert f">{name}<" in to_svg(figure)


def test_an_ablations_csv_holds_no_formula(results: Results) -> None:
    rows = tuple(replace(row, variant='=HYPERLINK("x")', overrides=("=1",)) for row in varied(results).rows)
    lines = list(csv.DictReader(io.StringIO(ablation_csv(replace(varied(results), rows=rows)))))
    assert lines[0]["variant"] == '\'=HYPERLINK("x")'
    assert lines[0]["overrides"] == "'=1"
