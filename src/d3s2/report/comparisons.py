"""Figures that compare sets: gains of classes, tail and head, budget and learning curves, students, variants."""

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from d3s2.metrics import MIOU, TAIL_MIOU
from d3s2.report.drawing import (
    FAINT,
    FONT_PT,
    INK,
    PAPER,
    RULE,
    STYLES,
    WIDTH_IN,
    legend,
    literal,
    per_cent,
    plain,
    set_label,
    short,
    style_of,
)
from d3s2.report.tables import score_cell
from d3s2.results import Ablation, AblationRow, Results, SetResult

MAX_ROWS = 75
DEEPEST_TINT = 0.45


def gain_figure(results: Results, student: str, shares: Sequence[float] | None = None) -> Figure | None:
    """IoU of each class on the distilled set minus that on a random one, in points, most frequent class first.

    Args:
        shares: of all masks that hold each class; behind the names where given, else classes keep their order.

    Returns:
        None where one of the two sets has no IoU of classes.
    """
    ours, theirs = results.row("distilled", student), results.row("random", student)
    if ours is None or theirs is None or not ours.iou_per_class or not theirs.iou_per_class:
        return None
    pairs = zip(ours.iou_per_class, theirs.iou_per_class, strict=True)
    gains = {index: 100 * (a - b) for index, (a, b) in enumerate(pairs) if a is not None and b is not None}
    order = sorted(gains, key=lambda index: (-shares[index] if shares else 0.0, index))
    num_columns = max(1, ceil(len(order) / MAX_ROWS))
    num_rows = max(1, ceil(len(order) / num_columns))
    figure = Figure(figsize=(WIDTH_IN, 0.5 + 0.215 * num_rows), layout="constrained")
    for column, axes in enumerate(figure.subplots(1, num_columns, squeeze=False)[0]):
        _draw_gains(axes, results, order[column * num_rows : (column + 1) * num_rows], gains, shares)
        axes.set_ylim(num_rows - 0.4, -0.6)
        most = max(map(abs, gains.values()), default=1.0) * 1.12 or 1.0
        axes.set_xlim(min(0.0, 1.12 * min(gains.values(), default=0.0)), most)
    return figure


def _draw_gains(
    axes: Axes, results: Results, here: Sequence[int], gains: Mapping[int, float], shares: Sequence[float] | None
) -> None:
    plain(axes)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    axes.axvline(0, color=FAINT, linewidth=1)
    colours = [STYLES["distilled" if gains[index] >= 0 else "random"].colour for index in here]
    axes.barh(range(len(here)), [gains[index] for index in here], height=0.62, color=colours, linewidth=0)
    names = [
        short(results.class_names[index]) + (f"  {_share_text(shares[index])}" if shares else "") for index in here
    ]
    axes.set_yticks(range(len(here)), names, fontsize=FONT_PT, color=INK)
    tail = set(results.tail_classes)
    for label, index in zip(axes.get_yticklabels(), here, strict=True):
        if index in tail:
            label.set_fontweight("bold")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.0f}" if value else "0"))


def tail_figure(results: Results, student: str) -> Figure | None:
    """mIoU of each set over the rarest third of the classes (open) and over the others (filled); None without any."""
    rows = [row for row in results.of(student) if row.iou_per_class and TAIL_MIOU in row.scores]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH_IN, 0.85 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    for place, row in enumerate(rows):
        head, tail = _head_miou(results, row), row.scores[TAIL_MIOU].mean
        colour = style_of(row.name).colour
        axes.plot([tail, head], [place, place], color=colour, linewidth=2, zorder=2)
        for value, fill, label in ((tail, PAPER, "rarest third of the classes"), (head, colour, "the others")):
            axes.plot(
                value, place, "o", markersize=8, markerfacecolor=fill, markeredgecolor=colour, markeredgewidth=2,
                linestyle="none", label=label if place == 0 else None, zorder=3,
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), [set_label(row.name) for row in rows], fontsize=FONT_PT + 1)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(per_cent))
    legend(figure, axes)
    return figure


def budget_figure(ablation: Ablation, student: str) -> Figure | None:
    """mIoU over the share of the masks, a line a set with the deviation over seeds; all real data is a level line."""
    rows = [row for row in ablation.of("budget", student) if MIOU in row.result.scores]
    if len({row.share for row in rows}) < 2:
        return None
    figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    everything = ablation.references(student).get("all")
    if everything is not None and MIOU in everything.scores:
        axes.axhline(
            everything.scores[MIOU].mean,
            color=style_of("all").colour,
            linewidth=1.5,
            linestyle=(0, (4, 3)),
            label=set_label("all"),
        )
    for name in dict.fromkeys(row.result.name for row in rows):
        _draw_curve(axes, name, sorted((row for row in rows if row.result.name == name), key=lambda row: row.share))
    axes.set_xscale("log")
    shares = sorted({row.share for row in rows})
    axes.set_xticks(shares, [_share_text(share) for share in shares])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(per_cent))
    axes.set_xlabel("share of the masks", fontsize=FONT_PT, color=FAINT)
    axes.set_ylim(bottom=0)
    legend(figure, axes)
    return figure


def _draw_curve(axes: Axes, name: str, rows: Sequence[AblationRow]) -> None:
    style, xs = style_of(name), [row.share for row in rows]
    means = [row.result.scores[MIOU].mean for row in rows]
    deviations = [row.result.scores[MIOU].std or 0.0 for row in rows]
    axes.errorbar(
        xs, means, yerr=deviations, color=style.colour, marker=style.marker, markersize=7, linewidth=2,
        linestyle=style.line, capsize=3, markerfacecolor=style.fill, markeredgecolor=style.edge, markeredgewidth=0.8,
        label=set_label(name),
    )  # fmt: skip


def learning_figure(results: Results, student: str) -> Figure | None:
    """mIoU over the iterations of training, a line a set with the deviation over seeds; None without early scores."""
    rows = [row for row in results.of(student) if row.early_iterations and MIOU in row.scores]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    for row in rows:
        style, spreads = style_of(row.name), (*row.early_miou, row.scores[MIOU])
        xs, means = (*row.early_iterations, row.iterations), [spread.mean for spread in spreads]
        deviations = [spread.std or 0.0 for spread in spreads]
        low, high = zip(*((m - d, m + d) for m, d in zip(means, deviations, strict=True)), strict=True)
        axes.fill_between(xs, low, high, color=style.colour, alpha=0.15, linewidth=0)
        axes.plot(
            xs, means, color=style.colour, marker=style.marker, markersize=6, linewidth=2, linestyle=style.line,
            markerfacecolor=style.fill, markeredgecolor=style.edge, markeredgewidth=0.8, label=set_label(row.name),
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(per_cent))
    axes.set_xlabel("iterations", fontsize=FONT_PT, color=FAINT)
    legend(figure, axes)
    return figure


def matrix_figure(results: Results) -> Figure | None:
    """mIoU of every student (columns) after every set (rows); the deeper a column's tint, the nearer to its best."""
    students = results.students
    names = [row.name for row in results.of(students[0])] if students else []
    if len(students) < 2:
        return None
    figure = Figure(figsize=(WIDTH_IN, 0.6 + 0.42 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    for column, student in enumerate(students):
        found = {row.name: row for row in results.of(student)}
        known = [row.scores[MIOU].mean for row in found.values() if MIOU in row.scores]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        for place, name in enumerate(names):
            mean = found[name].mean(MIOU) if name in found else None
            depth = 0.0 if mean is None or high == low else DEEPEST_TINT * (mean - low) / (high - low)
            axes.bar(
                column, 0.94, 0.96, place - 0.47, color=STYLES["distilled"].colour, alpha=0.04 + depth, linewidth=0
            )
            axes.text(column, place, _cell(found.get(name)), ha="center", va="center", fontsize=FONT_PT + 1, color=INK)
    axes.set_xticks(range(len(students)), [literal(student) for student in students], fontsize=FONT_PT + 1, color=INK)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(names)), [set_label(name) for name in names], fontsize=FONT_PT + 1)
    axes.set_xlim(-0.5, len(students) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelcolor=INK)
    return figure


def axis_figure(ablation: Ablation, axis: str, student: str) -> Figure | None:
    """mIoU of each variant of one axis, mean, deviation and seeds; upright lines: real sets of the recipe's budget."""
    rows = [row for row in ablation.of(axis, student) if MIOU in row.result.scores]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH_IN, 0.95 + 0.34 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    for name, result in ablation.references(student).items():
        if MIOU in result.scores:
            mean, colour = result.scores[MIOU].mean, style_of(name).colour
            axes.axvline(mean, color=colour, linewidth=1.6, linestyle=(0, (4, 3)), label=set_label(name))
    for place, row in enumerate(rows):
        _draw_variant(axes, place, row)
    axes.set_yticks(range(len(rows)), [literal(row.variant) for row in rows], fontsize=FONT_PT + 1)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xmargin(0.08)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    legend(figure, axes)
    return figure


def _draw_variant(axes: Axes, place: int, row: AblationRow) -> None:
    miou, style = row.result.scores[MIOU], style_of(row.result.name)
    seeds = row.result.known_per_seed(MIOU)
    axes.errorbar(
        miou.mean, place, xerr=miou.std, color=style.colour, marker=style.marker, markersize=9,
        linewidth=1.6, capsize=4, markeredgecolor=PAPER, markeredgewidth=0.8,
    )  # fmt: skip
    axes.plot(
        seeds, [place + 0.27] * len(seeds), "o", markersize=3.5, markerfacecolor=PAPER, markeredgecolor=FAINT,
        markeredgewidth=0.8,
    )  # fmt: skip


def _head_miou(results: Results, row: SetResult) -> float:
    tail = set(results.tail_classes)
    known = [share for index, share in enumerate(row.iou_per_class) if share is not None and index not in tail]
    return fmean(known) if known else 0.0


def _cell(row: SetResult | None) -> str:
    if row is None:
        return "–"
    return score_cell(row, MIOU) if MIOU in row.scores else "failed"


def _share_text(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
