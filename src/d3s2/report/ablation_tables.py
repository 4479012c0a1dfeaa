"""Tables of an ablation: for readers, and as CSV."""

from d3s2.metrics import MIOU, TAIL_MIOU
from d3s2.report.tables import NONE, Table, columns_of, csv_of, score_cell, time_text
from d3s2.results import Ablation, AblationRow, ratio_of
from d3s2.set_names import set_title

HEADERS = ("axis", "variant", "set", "items", "mIoU, %", "tail mIoU, %", "× random")


def ablation_table(ablation: Ablation) -> Table:
    """A row a variant and set: mIoU and tail mIoU in per cent, against random real data of the same budget."""
    many = len(ablation.students) > 1
    headers: tuple[str, ...] = (*HEADERS, *(f"{name} energy" for name in ablation.energies), "sampling")
    lines = [_cells(ablation, row) for row in ablation.rows]
    if many:
        headers = ("student", *headers)
        lines = [(row.result.student, *line) for row, line in zip(ablation.rows, lines, strict=True)]
    words = ("student", "axis", "variant", "set")
    return Table(headers, tuple(lines), tuple(header not in words for header in headers), _best(ablation))


def ablation_csv(ablation: Ablation) -> str:
    """One line a row with every number unrounded; lists are separated by spaces."""
    own = ("axis", "variant", "overrides", "share", "energies", "sampling_s", "chosen")
    metrics = list(dict.fromkeys(name for row in ablation.rows for name in row.result.scores))
    return csv_of({name: getattr(row, name) for name in own} | columns_of(row.result, metrics) for row in ablation.rows)


def _cells(ablation: Ablation, row: AblationRow) -> tuple[str, ...]:
    result = row.result
    random = ablation.random_beside(row)
    ratio = ratio_of(result, random)
    return (
        row.axis,
        row.variant,
        set_title(result.name) if row.chosen is None else f"{set_title(result.name)}: {row.chosen}",
        f"{result.items:,}",
        score_cell(result, MIOU),
        score_cell(result, TAIL_MIOU),
        NONE if ratio is None else f"{ratio:.2f}",
        *(f"{row.energies[name]:.2f}" if name in row.energies else NONE for name in ablation.energies),
        time_text(row.sampling_s),
    )


def _best(ablation: Ablation) -> tuple[int, ...]:
    """The variant with the highest mIoU of each axis and student, distilled sets only."""
    best: dict[tuple[str, str], int] = {}
    for index, row in enumerate(ablation.rows):
        key, miou = (row.axis, row.result.student), row.result.mean(MIOU)
        if not row.energies or miou is None:
            continue
        leader = best.get(key)
        if leader is None or miou > (ablation.rows[leader].result.mean(MIOU) or 0):
            best[key] = index
    return tuple(sorted(best.values()))
