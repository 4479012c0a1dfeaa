"""Tables as plain text cells, and their forms: Markdown, LaTeX, CSV."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, fields

from d3s2.base.foreign_text import csv_text, markdown_text
from d3s2.report.records import Results, SetResult, set_title

NONE = "–"

METRICS = {
    "miou": "mIoU, %",
    "tail_miou": "tail mIoU, %",
    "boundary_iou": "boundary IoU, %",
    "fw_iou": "frequency-weighted IoU, %",
    "pixel_accuracy": "pixel accuracy, %",
}
"""Scores of a set, as records name them -> as readers see them."""


@dataclass(frozen=True)
class Table:
    """Cells as readers see them.

    Args:
        headers: one a column.
        rows: as many cells as there are headers.
        numeric: columns that are aligned at the right.
        emphasis: positions of rows that stand out.
        notes: sentences below the table.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    emphasis: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def results_table(results: Results) -> Table:
    """A row a set: size, mIoU and tail mIoU in per cent, mean ± deviation, against random and against all real data."""
    headers = ("set", "items", "size", "mIoU, %", "tail mIoU, %", "× random", "of all real", "time")
    return _set_table(results, headers, lambda row: _result_cells(results, row))


def _result_cells(results: Results, row: SetResult) -> tuple[str, ...]:
    over_random = results.ratio(row.name, "random", row.student)
    of_all = results.ratio(row.name, "all", row.student)
    return (
        set_title(row.name),
        f"{row.items:,}",
        size_text(row.bytes),
        measured(row.miou_mean, row.miou_std) if row.failure is None else "failed",
        measured(row.tail_miou_mean, row.tail_miou_std),
        NONE if over_random is None else f"{over_random:.2f}",
        NONE if of_all is None else f"{100 * of_all:.0f} %",
        time_text(row.wall_s),
    )


def metrics_table(results: Results) -> Table:
    """A row a set: every score in per cent, mean ± deviation over seeds."""

    def cells(row: SetResult) -> tuple[str, ...]:
        scores = ((getattr(row, f"{key}_mean"), getattr(row, f"{key}_std")) for key in METRICS)
        return (set_title(row.name), *(measured(mean, std) for mean, std in scores))

    return _set_table(results, ("set", *METRICS.values()), cells)


def _set_table(results: Results, headers: tuple[str, ...], cells: Callable[[SetResult], tuple[str, ...]]) -> Table:
    """A row a set and student; the student is named where there are several."""
    rows = [row for student in results.students for row in results.of(student)]
    lines = [cells(row) for row in rows]
    if len(results.students) > 1:
        headers = ("student", *headers)
        lines = [(row.student, *line) for row, line in zip(rows, lines, strict=True)]
    return Table(
        headers=headers,
        rows=tuple(lines),
        numeric=tuple(header not in ("student", "set") for header in headers),
        emphasis=tuple(index for index, row in enumerate(rows) if row.name == "distilled"),
        notes=tuple(f"{set_title(row.name)} with {row.student} failed: {row.failure}." for row in rows if row.failure),
    )


def class_table(results: Results, student: str) -> Table:
    """A row a class: IoU in per cent after each set, mean over seeds."""
    rows = [row for row in results.of(student) if row.iou_per_class]
    tail = set(results.tail_classes)
    lines = [
        (name, "tail" if index in tail else "", *(measured(row.iou_per_class[index], None) for row in rows))
        for index, name in enumerate(results.class_names)
    ]
    headers = ("class", "", *(set_title(row.name) for row in rows))
    return Table(headers, tuple(lines), (False, False, *[True] * len(rows)))


def measured(mean: float | None, std: float | None) -> str:
    """A share as per cent, with its deviation where there is one."""
    if mean is None:
        return NONE
    return f"{100 * mean:.1f}" if std is None else f"{100 * mean:.1f} ± {100 * std:.1f}"


def size_text(num_bytes: int) -> str:
    """Bytes in the unit that suits them, powers of 1024."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def time_text(wall_s: float | None) -> str:
    """Seconds in the unit that suits them."""
    if wall_s is None:
        return NONE
    if wall_s < 99.5:
        return f"{wall_s:.1f} s" if wall_s < 9.95 else f"{wall_s:.0f} s"
    if wall_s < 99.5 * 60:
        return f"{wall_s / 60:.0f} min"
    return f"{wall_s / 3600:.1f} h"


def to_markdown(table: Table) -> str:
    """The table in GitHub's Markdown; rows that stand out are bold."""
    rule = ["---:" if numeric else "---" for numeric in table.numeric]
    lines = [[markdown_text(header) for header in table.headers], rule]
    for index, row in enumerate(table.rows):
        cells = [markdown_text(cell) for cell in row]
        lines.append([f"**{cell}**" if cell else cell for cell in cells] if index in table.emphasis else cells)
    notes = "".join(f"\n{markdown_text(note)}\n" for note in table.notes)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + notes


def to_latex(table: Table) -> str:
    """The table as a LaTeX tabular (package booktabs); rows that stand out are bold."""
    columns = "".join("r" if numeric else "l" for numeric in table.numeric)
    lines = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _latex_line(table.headers, bold=False), "\\midrule"]
    lines += [_latex_line(row, bold=index in table.emphasis) for index, row in enumerate(table.rows)]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def results_csv(results: Results) -> str:
    """One line a set with every number as it is, unrounded; lists of numbers are separated by spaces."""
    names = [field.name for field in fields(SetResult) if field.name != "iou_per_class"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*names, "ratio_to_random", "ratio_to_all", *(f"iou: {name}" for name in results.class_names)])
    for row in (row for student in results.students for row in results.of(student)):
        values = [csv_cell(getattr(row, name)) for name in names]
        ratios = [csv_cell(results.ratio(row.name, base, row.student)) for base in ("random", "all")]
        per_class = row.iou_per_class or (None,) * len(results.class_names)
        writer.writerow([*values, *ratios, *map(csv_cell, per_class)])
    return buffer.getvalue()


def csv_cell(value: object) -> str:
    """A value as it is, unrounded; nothing for None, a list separated by spaces, text that is no formula."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(csv_cell, value))
    return csv_text(value) if isinstance(value, str) else str(value)


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "×": r"$\times$", "–": "--", "~": r"\textasciitilde{}"}
LATEX |= {"^": r"\textasciicircum{}"} | {mark: f"\\{mark}" for mark in "&%$#_{}"}


def _latex_line(cells: tuple[str, ...], bold: bool) -> str:
    texts = ["".join(LATEX.get(mark, mark) for mark in cell) for cell in cells]
    return " & ".join(f"\\textbf{{{text}}}" if bold and text else text for text in texts) + r" \\"
