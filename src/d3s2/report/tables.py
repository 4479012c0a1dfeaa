"""Tables as plain text cells, and their forms: Markdown, LaTeX, CSV."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from d3s2.base.formats.foreign_text import csv_text, markdown_text
from d3s2.data.files import JPEG_QUALITY
from d3s2.metrics import MIOU, TAIL_MIOU
from d3s2.results import IOU, Results, SetResult
from d3s2.results.controls import CONFIDENCE
from d3s2.set_names import ALL, BEST_REAL, GUIDED, RANDOM, SOFT_END, hard_of, set_title

NONE = "–"


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


def result_files(results: Results) -> dict[str, str]:
    """What a run's folder keeps of its results as text, by file name: every table that there are numbers for."""
    found = (results_table(results), labels_table(results), comparisons_table(results), metrics_table(results))
    tables = [table for table in found if table is not None]
    return {
        "results.md": "\n".join(map(to_markdown, tables)),
        "results.tex": "\n".join(map(to_latex, tables)),
        "results.csv": results_csv(results),
    }


def results_table(results: Results) -> Table:
    """A row a set: sizes, mIoU and tail mIoU in per cent, mean ± deviation, against real subsets and all real data."""
    columns: list[tuple[str, Callable[[SetResult], str]]] = [
        ("set", lambda row: set_title(row.name)),
        ("items", lambda row: f"{row.items:,}"),
        ("size", lambda row: size_text(row.bytes)),
        ("mIoU, %", lambda row: score_cell(row, MIOU) if row.failure is None else "failed"),
        ("tail mIoU, %", lambda row: score_cell(row, TAIL_MIOU)),
        ("× random", lambda row: _factor(results.ratio_like(row.name, RANDOM, row.student))),
        ("of all real", lambda row: _per_cent_of(results.ratio(row.name, ALL, row.student))),
        ("time", lambda row: time_text(row.wall_s)),
    ]
    if any(row.jpeg_bytes is not None for row in results.sets):
        columns.insert(3, (f"as JPEG {JPEG_QUALITY}", lambda row: size_text(row.jpeg_bytes)))
    if any(row.name == BEST_REAL for row in results.sets):
        best = ("× best real", lambda row: _factor(results.ratio_like(row.name, BEST_REAL, row.student)))
        columns.insert(-2, best)
    headers = tuple(header for header, _ in columns)
    table = _set_table(results, headers, lambda row: tuple(cell(row) for _, cell in columns))
    return replace(table, notes=(*table.notes, *_reading(results)))


def _reading(results: Results) -> tuple[str, ...]:
    """What a reader must know of the spreads, and of what was chosen by which split."""
    made = [row for row in results.sets if row.name.startswith(GUIDED) and len(row.seeds) > 1]
    notes = ["Scored at the size of the real masks."] if results.scored_at == "native" else []
    if made and results.draws == 1:
        notes.append("One distilled set was drawn: its deviation is that of students alone (evaluate.draws).")
    elif made:
        notes.append(f"Deviations are over students and {results.draws} draws of the distilled set.")
    for choice in results.best_real:
        title = set_title(f"{BEST_REAL}{SOFT_END if choice.soft else ''}")
        notes.append(f"{title}: {choice.chosen}, the best of {len(choice.scores)} by mIoU on {choice.dataset}.")
    if results.times_scored == 1:
        notes.append(f"Each student has one record on {results.dataset}: no setting was changed after its score.")
    elif results.times_scored:
        told = f"Some students have {results.times_scored} records on {results.dataset}"
        notes.append(f"{told}: settings were changed after a score.")
    return tuple(notes)


def labels_table(results: Results) -> Table | None:
    """A row a set that was learnt from with hard labels and with soft ones; None where there is no such set."""
    lines, many = [], len(results.students) > 1
    for student in results.students:
        found = {row.name: row for row in results.of(student)}
        for soft in (row for row in found.values() if hard_of(row.name) in found and hard_of(row.name) != row.name):
            hard = found[hard_of(soft.name)]
            gain = results.comparison(soft.name, hard.name, student)
            taken = (hard.bytes, soft.bytes, hard.jpeg_bytes, soft.jpeg_bytes)
            scores = (score_cell(hard, MIOU), score_cell(soft, MIOU), NONE if gain is None else gain.text)
            lines.append(
                (*([student] if many else []), set_title(hard.name), f"{hard.items:,}", *scores, *map(size_text, taken))
            )
    if not lines:
        return None
    sizes = tuple(f"{what}, {how}" for how in ("PNG", f"JPEG {JPEG_QUALITY}") for what in ("hard", "soft"))
    headers = (*(["student"] if many else []), "set", "items", "hard, %", "soft, %", "soft - hard, points", *sizes)
    numeric = tuple(header not in ("student", "set") for header in headers)
    return Table(headers, tuple(lines), numeric, notes=("mIoU; sizes with soft labels hold those of their files.",))


def comparisons_table(results: Results) -> Table | None:
    """A row a comparison of a made set with a real one, or of the best real subset with others; None without any."""
    many, lines = len(results.students) > 1, []
    for one in results.comparisons:
        words = (set_title(one.ours), set_title(one.base))
        lines.append((*([one.student] if many else []), *words, _factor(one.ratio), one.text, one.verdict))
    if not lines:
        return None
    headers = (*(["student"] if many else []), "set", "against", "ratio", "difference, points", "")
    numeric = tuple(header in ("ratio", "difference, points") for header in headers)
    note = f"Differences of mIoU over seeds as pairs; in brackets {100 * CONFIDENCE:.0f} % intervals by Student's t."
    return Table(headers, tuple(lines), numeric, notes=(note,))


def metrics_table(results: Results) -> Table:
    """A row a set: every score in per cent, mean ± deviation over seeds."""

    def cells(row: SetResult) -> tuple[str, ...]:
        return (set_title(row.name), *(score_cell(row, metric.name) for metric in results.metrics))

    return _set_table(results, ("set", *(f"{metric.title}, %" for metric in results.metrics)), cells)


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


def class_table(results: Results, student: str, of_class: str = IOU) -> Table:
    """A row a class: its IoU, or what else rows hold of classes, in per cent after each set, mean over seeds."""
    rows = [row for row in results.of(student) if row.per_class.get(of_class)]
    tail = set(results.tail_classes)
    lines = [
        (name, "tail" if index in tail else "", *(measured(row.per_class[of_class][index], None) for row in rows))
        for index, name in enumerate(results.class_names)
    ]
    headers = ("class", "", *(set_title(row.name) for row in rows))
    return Table(headers, tuple(lines), (False, False, *[True] * len(rows)))


def score_cell(row: SetResult, metric: str) -> str:
    """A score of a row in per cent, with its deviation over seeds."""
    return measured(row.mean(metric), row.std(metric))


def _factor(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}"


def _per_cent_of(ratio: float | None) -> str:
    return NONE if ratio is None else f"{100 * ratio:.0f} %"


def measured(mean: float | None, std: float | None) -> str:
    """A share as per cent, with its deviation where there is one."""
    if mean is None:
        return NONE
    return f"{100 * mean:.1f}" if std is None else f"{100 * mean:.1f} ± {100 * std:.1f}"


def size_text(num_bytes: int | None) -> str:
    """Bytes in the unit that suits them, powers of 1024."""
    if num_bytes is None:
        return NONE
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(size) < 1024:
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
        return f"{wall_s / 60:.1f} min" if wall_s < 9.95 * 60 else f"{wall_s / 60:.0f} min"
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
    return csv_of(_csv_line(results, row) for student in results.students for row in results.of(student))


def _csv_line(results: Results, row: SetResult) -> dict[str, Any]:
    ratios = {f"ratio_to_{base}": results.ratio(row.name, base, row.student) for base in (RANDOM, BEST_REAL, ALL)}
    none = (None,) * len(results.class_names)
    per_class = {
        f"{of_class}: {name}": share
        for of_class in results.of_classes
        for name, share in zip(results.class_names, row.per_class.get(of_class) or none, strict=True)
    }
    return columns_of(row, [metric.name for metric in results.metrics]) | ratios | per_class


def columns_of(row: SetResult, metrics: Sequence[str]) -> dict[str, Any]:
    """A row as columns: mean, deviation and seeds of each score beside its other fields; classes are left out."""
    columns: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name == "scores":
            for name in metrics:
                columns |= {f"{name}_mean": row.mean(name), f"{name}_std": row.std(name)}
                columns[f"{name}_per_seed"] = row.per_seed.get(name, ())
        elif field.name == "early_miou":
            columns["early_miou_mean"] = tuple(spread.mean for spread in row.early_miou)
            columns["early_miou_std"] = tuple(spread.std for spread in row.early_miou)
        elif field.name not in ("per_seed", "per_class"):
            columns[field.name] = value
    return columns


def csv_of(lines: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a header, every number unrounded; all lines have the same columns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for index, line in enumerate(lines):
        if index == 0:
            writer.writerow(map(csv_cell, line))
        writer.writerow(map(csv_cell, line.values()))
    return buffer.getvalue()


def csv_cell(value: object) -> str:
    """A value as it is, unrounded; nothing for None, a list separated by spaces, text that is no formula."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return csv_text(" ".join(f"{name}={one}" for name, one in value.items()))
    if isinstance(value, tuple):
        return " ".join(map(csv_cell, value))
    return csv_text(value) if isinstance(value, str) else str(value)


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "×": r"$\times$", "–": "--", "~": r"\textasciitilde{}"}
LATEX |= {"^": r"\textasciicircum{}"} | {mark: f"\\{mark}" for mark in "&%$#_{}"}


def _latex_line(cells: tuple[str, ...], bold: bool) -> str:
    texts = ["".join(LATEX.get(mark, mark) for mark in cell) for cell in cells]
    return " & ".join(f"\\textbf{{{text}}}" if bold and text else text for text in texts) + r" \\"
