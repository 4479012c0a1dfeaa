"""Tables say what the records say, in every form."""

import csv
import io
from dataclasses import replace

import pytest

from d3s2.report.tables import (
    class_table,
    measured,
    metrics_table,
    results_csv,
    results_table,
    size_text,
    time_text,
    to_latex,
    to_markdown,
)
from d3s2.results.records import Results, SetResult, Spread


def test_the_table_in_markdown(results: Results) -> None:
    assert to_markdown(results_table(results)) == (
        "| set | items | size | mIoU, % | tail mIoU, % | × random | of all real | time |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| random real | 20 | 273 KiB | 23.0 ± 2.6 | 11.5 ± 1.3 | 1.00 | 29 % | 75 s |\n"
        "| distilled, unguided | 20 | 273 KiB | 40.0 ± 1.0 | 20.0 ± 0.5 | 1.74 | 50 % | 75 s |\n"
        "| **distilled** | **20** | **273 KiB** | **46.0 ± 2.0** | **23.0 ± 1.0** | **2.00** | **57 %** | **75 s** |\n"
        "| all real | 2,000 | 26.7 MiB | 80.0 ± 2.0 | 40.0 ± 1.0 | 3.48 | 100 % | 75 s |\n"
        "\nOne distilled set was drawn: its deviation is that of students alone (evaluate.draws).\n"
    )


def test_a_failed_row_stays_with_its_reason(results: Results, failed_row: SetResult) -> None:
    table = results_table(replace(results, sets=(*results.sets, failed_row)))
    assert table.headers[:2] == ("student", "set")
    assert table.rows[-1] == ("mask2former", "all real", "2,000", "26.7 MiB", "failed", "–", "–", "–", "–")
    assert "\n\nall real with mask2former failed: out of memory.\n" in to_markdown(table)


def test_every_score_has_its_column_and_several_students_are_named(results: Results) -> None:
    more = {"boundary_iou": Spread(0.25, 0.01), "fw_iou": Spread(0.5)}
    scored = [replace(row, scores=row.scores | more) for row in results.sets]
    table = metrics_table(replace(results, sets=(*scored, replace(scored[0], student="segformer-b0"))))
    assert table.headers[:3] == ("student", "set", "mIoU, %")
    assert table.rows[0] == ("compact-unet", "random real", "23.0 ± 2.6", "11.5 ± 1.3", "25.0 ± 1.0", "50.0", "–")
    assert table.rows[-1][:2] == ("segformer-b0", "distilled")
    assert metrics_table(results).headers[0] == "set"


def test_the_table_in_latex(results: Results) -> None:
    lines = to_latex(results_table(results)).splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrrrrr}"
    assert lines[2] == r"set & items & size & mIoU, \% & tail mIoU, \% & $\times$ random & of all real & time \\"
    assert lines[6].startswith(r"\textbf{distilled} & \textbf{20} & \textbf{273 KiB} & \textbf{46.0 $\pm$ 2.0}")
    assert lines[-1] == r"\end{tabular}"
    assert r"car \& van" in to_latex(class_table(results, "compact-unet"))


def test_csv_keeps_every_digit(results: Results) -> None:
    lines = list(csv.DictReader(io.StringIO(results_csv(results))))
    distilled = next(line for line in lines if line["name"] == "distilled")
    ours = results.row("distilled", "compact-unet")
    assert ours is not None
    assert float(distilled["miou_mean"]) == ours.mean("miou")
    assert [float(value) for value in distilled["miou_per_seed"].split()] == list(ours.per_seed["miou"])
    assert float(distilled["ratio_to_random"]) == results.ratio("distilled", "random", "compact-unet")
    assert distilled["iou: boat"] == ""
    assert float(distilled["iou: car & van"]) == ours.mean("miou")


def test_the_class_table_marks_the_tail(results: Results) -> None:
    table = class_table(results, "compact-unet")
    assert table.headers == ("class", "", "random real", "distilled, unguided", "distilled", "all real")
    assert table.rows[2] == ("boat", "", "–", "–", "–", "–")
    assert table.rows[3] == ("hydrant", "tail", "13.0", "30.0", "36.0", "70.0")


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**20 * 200, "200 MiB"), (2**45, "32.0 TiB")],
)
def test_sizes_have_the_unit_that_suits_them(num_bytes: int, text: str) -> None:
    assert size_text(num_bytes) == text


@pytest.mark.parametrize(
    ("wall_s", "text"),
    [
        (None, "–"),
        (0.24, "0.2 s"),
        (42.4, "42 s"),
        (106.9, "1.8 min"),
        (600.0, "10 min"),
        (5400.0, "90 min"),
        (7200.0, "2.0 h"),
    ],
)
def test_times_have_the_unit_that_suits_them(wall_s: float | None, text: str) -> None:
    assert time_text(wall_s) == text


def test_one_seed_has_no_deviation() -> None:
    assert measured(0.1234, None) == "12.3"
    assert measured(None, None) == "–"


def test_a_pipe_in_a_name_stays_in_its_cell(results: Results) -> None:
    table = class_table(replace(results, class_names=("a|b", "c", "d", "e")), "compact-unet")
    assert to_markdown(table).splitlines()[2].startswith("| a\\|b |")


def test_csv_holds_no_formula(results: Results) -> None:
    evil = "=cmd|' /C calc'!A0"
    row = replace(results.sets[0], name=f"{evil}/x", student=f"+{evil}", failure=f"-{evil}")
    text = results_csv(replace(results, sets=(row,), class_names=(evil, *results.class_names[1:])))
    header, line = list(csv.reader(io.StringIO(text)))
    assert not [cell for cell in (*header, *line) if cell.startswith(("=", "+", "-", "@"))]
    assert f"'{evil}/x" in line


def test_names_in_markdown_are_shown_and_not_read(results: Results) -> None:
    row = replace(results.sets[0], name="runs/<b>[x](y)`", failure="*no*\n\n# memory")
    text = to_markdown(results_table(replace(results, sets=(row,))))
    assert r"runs/&lt;b&gt;\[x\](y)\`" in text
    assert r"failed: \*no\* # memory." in text
