"""The page: one self-contained HTML file of everything that a run left behind."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from d3s2.judgements import Judgements
from d3s2.metrics import MIOU
from d3s2.report.ablation_tables import ablation_table
from d3s2.report.comparisons import axis_figure, budget_figure, gain_figure, learning_figure, matrix_figure, tail_figure
from d3s2.report.drawing import to_svg
from d3s2.report.figures import (
    ClassFrequencies,
    EnergyTrace,
    class_figure,
    energy_figure,
    frequency_figure,
    miou_figure,
)
from d3s2.report.gallery import COLUMNS, Gallery, GalleryRow
from d3s2.report.items import PackedItems, misread_table
from d3s2.report.judgement_tables import HEADERS, MEASURES, judgements_table, neighbours_table
from d3s2.report.pictures import Encoding, image_uri, mask_uri
from d3s2.report.tables import (
    NONE,
    Table,
    class_table,
    comparisons_table,
    labels_table,
    measured,
    metrics_table,
    results_table,
    score_cell,
    time_text,
)
from d3s2.results import IOU, Ablation, Results
from d3s2.set_names import BEST_REAL, RANDOM

CLOSEST = 50  # neighbours that the page lists; judges.json has them all
SMALL_PX = 256  # pictures that are narrower are enlarged by whole pixels and never smoothed
SCRIPTS = ("page.js", "viewer.js")  # one script of the page, in this order
SMALL_TILES, TILES = Encoding(SMALL_PX, None), Encoding(512, 82)


@dataclass(frozen=True)
class CostRow:
    """What one stage took.

    Args:
        stage: its name.
        wall_s: wall time in seconds.
        peak_memory_gib: the most memory that was held; None where it was not measured.
        note: whatever helps to read the numbers, for example '1.4 x an unguided sample'.
    """

    stage: str
    wall_s: float
    peak_memory_gib: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ReportContent:
    """Everything a page can show; what a run did not make stays out of it.

    Args:
        title: of the page, for example 'scenes, distilled to 1 %'.
        subtitle: a sentence below it.
        date: when the run ended.
        asked: what was asked for, label -> value, in order.
        results: table of an evaluation.
        ablation: variants of one run.
        frequencies: of the classes in the full set, a random and the chosen one.
        gallery: masks and images of a few items.
        items: all of them, for the part of the page that sorts and filters.
        judgements: what judges say of the synthetic images.
        neighbours: the synthetic images that look most like copies, with their nearest real images.
        energies: over the steps of sampling.
        cost: a row a stage.
        provenance: versions, commit, hardware, digests, label -> value, in order.
        folder: the distilled set, as the reader would type it.
        notes: sentences that a reader of the numbers should know.
    """

    title: str
    subtitle: str = ""
    date: str = ""
    asked: Mapping[str, str] = field(default_factory=dict)
    results: Results | None = None
    ablation: Ablation | None = None
    frequencies: ClassFrequencies | None = None
    gallery: Gallery | None = None
    items: PackedItems | None = None
    judgements: Judgements | None = None
    neighbours: Gallery | None = None
    energies: tuple[EnergyTrace, ...] = ()
    cost: tuple[CostRow, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Headline:
    """One number at the top of the page and what it means."""

    number: str
    meaning: str


def render(content: ReportContent) -> str:
    """The page as HTML with everything inline; nothing is loaded from anywhere. The same text from the same content."""
    results, script = content.results, "".join(map(_own_file, SCRIPTS)) if content.items else None
    return _template().render(
        content=content,
        style=Markup(_own_file("page.css")),
        script=Markup(script) if script else None,
        script_digest=_digest(script) if script else None,
        headlines=headlines(results) if results else [],
        results_table=results_table(results) if results and results.sets else None,
        labels_table=labels_table(results) if results else None,
        comparisons_table=comparisons_table(results) if results else None,
        metrics_table=replace(metrics_table(results), notes=()) if results and results.sets else None,
        students=[_student_views(content, results, student) for student in results.students] if results else [],
        matrix_svg=_drawn(matrix_figure(results)) if results else None,
        ablation=_ablation_view(content.ablation) if content.ablation else None,
        frequency_svg=_svg(frequency_figure(content.frequencies)) if content.frequencies else None,
        energy_svg=_svg(energy_figure(content.energies)) if any(e.measured for e in content.energies) else None,
        gallery=_gallery_view(content.gallery) if content.gallery else None,
        items=_items_view(content.items) if content.items else None,
        judges=_judges_view(content) if content.judgements and content.judgements.rows else None,
        cost_table=cost_table(content.cost) if content.cost else None,
    )


def headlines(results: Results) -> list[Headline]:
    """The numbers that a reader looks for first, of the first student; none where nothing was evaluated."""
    if not results.sets:
        return []
    student = results.students[0]
    distilled, random = results.row("distilled", student), results.row("random", student)
    lines = []
    over = {BEST_REAL: "the best real subset", RANDOM: "a random one"}
    for base, what in over.items():
        lines += _over(results, base, f"mIoU of the distilled set over {what} of its size", student)
    of_all = results.ratio("distilled", "all", student)
    if distilled and random and MIOU in distilled.scores:
        versus = f", against {score_cell(random, MIOU)} % for random"
        lines.append(Headline(f"{measured(distilled.mean(MIOU), None)} %", f"mIoU after training on it{versus}"))
    if of_all is not None:
        lines.append(Headline(f"{100 * of_all:.0f} %", "of the mIoU that all real data gives"))
    everything = results.row("all", student)
    if distilled and everything and everything.items:
        share = 100 * distilled.items / everything.items
        lines.append(Headline(f"{distilled.items:,}", f"images, {share:.2g} % of the {everything.items:,} real ones"))
    return lines


def _over(results: Results, base: str, meaning: str, student: str) -> list[Headline]:
    """Distilled over a real subset, and whether the seeds tell the two apart."""
    ratio = results.ratio("distilled", base, student)
    if ratio is None:
        return []
    paired = results.comparison("distilled", base, student)
    told = "" if paired is None or paired.low is None else f"; difference {paired.text} points: {paired.verdict}"
    return [Headline(f"×{ratio:.2f}", f"{meaning}{told}")]


def cost_table(cost: tuple[CostRow, ...]) -> Table:
    """A row a stage, and their sum."""
    rows = [(row.stage, time_text(row.wall_s), _memory(row.peak_memory_gib), row.note) for row in cost]
    if len(rows) > 1:
        peaks = [row.peak_memory_gib for row in cost if row.peak_memory_gib is not None]
        total = time_text(sum(row.wall_s for row in cost))
        rows.append(("in all", total, _memory(max(peaks, default=None)), ""))
    emphasis = (len(rows) - 1,) if len(rows) > 1 else ()
    return Table(("stage", "time", "peak memory", ""), tuple(rows), (False, True, True, False), emphasis)


def _student_views(content: ReportContent, results: Results, student: str) -> dict[str, Any]:
    rows = results.of(student)
    scored = any(MIOU in row.scores for row in rows)
    of_classes = [name for name in results.of_classes if any(row.per_class.get(name) for row in rows)]
    shares = content.frequencies.shares.get("all") if content.frequencies else None
    return {
        "name": student,
        "miou_svg": _svg(miou_figure(results, student)) if scored else None,
        "learning_svg": _drawn(learning_figure(results, student)),
        "tail_svg": _drawn(tail_figure(results, student)),
        "gain_svg": _drawn(gain_figure(results, student, shares)),
        "class_svg": _svg(class_figure(results, student)) if IOU in of_classes else None,
        "class_tables": [(_words(name), class_table(results, student, name)) for name in of_classes],
    }


def _ablation_view(ablation: Ablation) -> dict[str, Any]:
    pairs = [(axis, student) for axis in ablation.axes for student in ablation.students]
    drawn = [(axis, student, _drawn(_variants_figure(ablation, axis, student))) for axis, student in pairs]
    return {
        "table": ablation_table(ablation),
        "figures": [(axis, student, svg) for axis, student, svg in drawn if svg is not None],
    }


def _variants_figure(ablation: Ablation, axis: str, student: str) -> Figure | None:
    return budget_figure(ablation, student) if axis == "budget" else axis_figure(ablation, axis, student)


def _judges_view(content: ReportContent) -> dict[str, Any]:
    judgements = content.judgements
    assert judgements is not None
    measured_ones = [name for name in MEASURES if any(getattr(row, name) is not None for row in judgements.rows)]
    distilled = judgements.of("distilled")
    return {
        "table": judgements_table(judgements),
        "readings": {HEADERS[name].removesuffix(", %"): MEASURES[name] for name in measured_ones},
        "gallery": _gallery_view(content.neighbours) if content.neighbours else None,
        "closest": neighbours_table(distilled.closest(CLOSEST)) if distilled and distilled.neighbours else None,
    }


def _items_view(items: PackedItems) -> dict[str, Any]:
    misread = misread_table(items)
    return {
        "count": len(items.records),
        "json": Markup(items.as_json),
        "how_stored": items.how_stored,
        "small": items.size_px[1] < SMALL_PX,
        "shape": f"{items.size_px[1] / items.size_px[0]:.4f}",
        "misread": misread if misread.rows else None,
    }


def _gallery_view(gallery: Gallery) -> dict[str, Any]:
    columns = gallery.columns
    return {
        "captions": [COLUMNS[column] for column in columns],
        "rows": [
            {"tiles": [_tile_uri(gallery, row, column) for column in columns], "note": row.note} for row in gallery.rows
        ],
        "legend": [(gallery.space.names[index], _hex(gallery, index)) for index in gallery.classes()],
        "small": gallery.rows[0].mask.shape[1] < SMALL_PX,
    }


def _tile_uri(gallery: Gallery, row: GalleryRow, column: str) -> str | None:
    content = getattr(row, column)
    if content is None:
        return None
    encoding = SMALL_TILES if max(content.shape[:2]) <= SMALL_PX else TILES
    return mask_uri(content, gallery.space, encoding) if content.ndim == 2 else image_uri(content, encoding)


def _hex(gallery: Gallery, index: int) -> str:
    return "#" + bytes(gallery.space.colours[index].tolist()).hex()


def _drawn(figure: Figure | None) -> Markup | None:
    return None if figure is None else _svg(figure)


def _svg(figure: Figure) -> Markup:
    # Names of classes and sets inside were escaped by the writer of the SVG.
    return Markup(to_svg(figure))


def _words(of_class: str) -> str:
    """'boundary_iou' as 'boundary IoU'."""
    return of_class.replace("_", " ").replace("iou", "IoU")


def _memory(memory_gib: float | None) -> str:
    return NONE if memory_gib is None else f"{memory_gib:.1f} GiB"


def _digest(script: str) -> str:
    """What a Content-Security-Policy calls the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _own_file(name: str) -> str:
    return files("d3s2.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_own_file("page.html.j2"))
