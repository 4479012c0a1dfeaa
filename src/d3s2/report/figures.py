"""Figures of a report, as PNG or as SVG that follows the page's light or dark colours.

Colours are those of Okabe and Ito, which readers with any colour vision tell apart; every series has a marker of its
own as well. Source: M. Okabe, K. Ito, "Color Universal Design", 2008.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from d3s2.report.records import SETS, Results

INK, FAINT, RULE, PAPER = "#1d2733", "#5c6773", "#dfe3e8", "#fefefe"


@dataclass(frozen=True)
class Style:
    """How a series looks: colour on white, marker, and the CSS variable that takes the colour's place on the page."""

    colour: str
    marker: str
    variable: str


STYLES = {
    "random": Style("#e69f00", "^", "--random"),
    "balanced": Style("#009e73", "s", "--balanced"),
    "distilled-unguided": Style("#56b4e9", "D", "--unguided"),
    "distilled": Style("#0072b2", "o", "--distilled"),
    "all": Style("#7a828c", "|", "--all"),
}
OTHER = Style("#cc79a7", "v", "--other")
VARIABLES = {INK: "--ink", FAINT: "--faint", RULE: "--rule", PAPER: "--card", OTHER.colour: OTHER.variable}
VARIABLES |= {style.colour: style.variable for style in STYLES.values()}

WIDTH_IN = 9.0
FONT_PT = 9.0
MAX_ROWS = 90
MAX_NAME = 28


@dataclass(frozen=True)
class ClassFrequencies:
    """How often each class occurs in several sets.

    Args:
        class_names: by train id.
        shares: name of a set (a key of SETS) -> share of its masks that hold each class, 0..1.
    """

    class_names: tuple[str, ...]
    shares: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class EnergyTrace:
    """One energy over the steps of sampling.

    Args:
        energy: what it is called, for example 'segmentation'.
        series: the set it belongs to, 'distilled-unguided' or 'distilled'.
        values: NaN where it was not measured.
    """

    energy: str
    series: str
    values: Float[np.ndarray, "items steps"]

    @property
    def measured(self) -> bool:
        """Whether there is a single number."""
        return bool(np.isfinite(self.values).any())


def frequency_figure(frequencies: ClassFrequencies) -> Figure:
    """Share of masks that hold each class, most frequent first, on a logarithmic scale; open markers stand for none."""
    order = _by_share(frequencies)
    names = [frequencies.class_names[index] for index in order]
    positive = [share for shares in frequencies.shares.values() for share in shares if share > 0]
    least = min(positive, default=0.01)
    nowhere = least / 2.5
    series = {
        name: [shares[index] or None for index in order]
        for name, shares in sorted(frequencies.shares.items(), key=lambda pair: _rank(pair[0]))
    }
    figure, panels = _dot_panels(names, series, none_at=nowhere)
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xlim(nowhere / 1.5, 1.35)
        ticks = [tick for tick in _share_ticks(len(panels)) if tick >= 0.9 * least]
        axes.set_xticks([nowhere, *ticks], ["none", *(f"{100 * tick:g} %" for tick in ticks)])
        axes.minorticks_off()
    return figure


def class_figure(results: Results, student: str) -> Figure:
    """IoU of each class after each set, best learnt from all real data first; tail classes are bold."""
    rows = [row for row in results.of(student) if row.iou_per_class]
    last = rows[-1].iou_per_class
    scores = [-1.0 if value is None else value for value in last]
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    names = [results.class_names[index] for index in order]
    series = {row.name: [row.iou_per_class[index] for index in order] for row in rows}
    tail = {_short(results.class_names[index]) for index in results.tail_classes}
    figure, panels = _dot_panels(names, series, none_at=None)
    for axes in panels:
        axes.set_xlim(-0.03, 1.0)
        axes.xaxis.set_major_formatter(FuncFormatter(_per_cent))
        for label in axes.get_yticklabels():
            if label.get_text() in tail:
                label.set_fontweight("bold")
    return figure


def miou_figure(results: Results, student: str) -> Figure:
    """Mean mIoU of each set with its deviation, and every seed as a dot."""
    rows = [row for row in results.of(student) if row.miou_mean is not None]
    figure = Figure(figsize=(WIDTH_IN, 0.55 + 0.42 * max(len(rows), 1)), layout="constrained")
    axes = figure.add_subplot()
    _plain(axes)
    for place, row in enumerate(rows):
        style, mean, std = style_of(row.name), row.miou_mean or 0.0, row.miou_std or 0.0
        axes.barh(place, mean, height=0.58, color=style.colour, linewidth=0)
        if row.miou_std is not None:
            axes.errorbar(mean, place, xerr=std, color=INK, linewidth=1.2, capsize=3.5, capthick=1.2)
        seeds = row.miou_per_seed
        axes.plot(
            seeds, [place] * len(seeds), "o", markersize=4.5, markerfacecolor=PAPER, markeredgecolor=INK,
            markeredgewidth=0.9, zorder=5,
        )  # fmt: skip
        right = max(mean + std, *seeds, mean)
        axes.annotate(
            f"{100 * mean:.1f} %", (right, place), (7, 0), textcoords="offset points", va="center",
            fontsize=FONT_PT + 1, fontweight="bold", color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [SETS.get(row.name, row.name) for row in rows], fontsize=FONT_PT + 1)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    farthest = max(((row.miou_mean or 0.0) + (row.miou_std or 0.0) for row in rows), default=0.0)
    axes.set_xlim(0, 1.14 * farthest or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(_per_cent))
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    return figure


def energy_figure(traces: Sequence[EnergyTrace]) -> Figure:
    """Each energy over the steps: mean over items, and the band that holds eight items in ten."""
    traces = [trace for trace in traces if trace.measured]
    energies = list(dict.fromkeys(trace.energy for trace in traces))
    figure = Figure(figsize=(WIDTH_IN, 3.1), layout="constrained")
    panels = figure.subplots(1, len(energies), squeeze=False)[0]
    for axes, energy in zip(panels, energies, strict=True):
        _plain(axes)
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        for trace in traces:
            if trace.energy == energy:
                _draw_trace(axes, trace)
        axes.set_title(f"{energy} energy", loc="left", fontsize=FONT_PT + 1, fontweight="bold", color=INK)
        axes.set_xlabel("sampling step", fontsize=FONT_PT, color=FAINT)
        axes.set_ylim(bottom=0)
        axes.set_xmargin(0.02)
    _legend(figure, panels[0])
    return figure


def _draw_trace(axes: Axes, trace: EnergyTrace) -> None:
    seen = np.flatnonzero(np.isfinite(trace.values).any(axis=0))
    columns = [column[np.isfinite(column)] for column in trace.values[:, seen].T]
    mean = [float(column.mean()) for column in columns]
    low, high = zip(*(np.percentile(column, (10, 90)) for column in columns), strict=True)
    style = style_of(trace.series)
    axes.fill_between(seen + 1, low, high, color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(seen + 1, mean, color=style.colour, linewidth=2, label=SETS.get(trace.series, trace.series))


def _dot_panels(
    names: Sequence[str], series: Mapping[str, Sequence[float | None]], none_at: float | None
) -> tuple[Figure, list[Axes]]:
    """A line a class and a dot a set, in as many columns as keep every name readable."""
    num_columns = min(4, math.ceil(len(names) / MAX_ROWS))
    num_rows = math.ceil(len(names) / num_columns)
    figure = Figure(figsize=(WIDTH_IN, 0.8 + 0.215 * num_rows), layout="constrained")
    panels = list(figure.subplots(1, num_columns, squeeze=False)[0])
    for column, axes in enumerate(panels):
        _plain(axes)
        here = range(column * num_rows, min((column + 1) * num_rows, len(names)))
        axes.hlines(range(len(here)), 0, 1, transform=axes.get_yaxis_transform(), color=RULE, linewidth=0.8)
        for name, values in series.items():
            _draw_dots(axes, name, [values[index] for index in here], none_at)
        axes.set_yticks(range(len(here)), [_short(names[index]) for index in here], fontsize=FONT_PT, color=INK)
        axes.set_ylim(num_rows - 0.4, -0.6)
    _legend(figure, panels[0])
    return figure, panels


def _draw_dots(axes: Axes, name: str, values: Sequence[float | None], none_at: float | None) -> None:
    style = style_of(name)
    size, edge = (10.0, 2.8) if style.marker == "|" else (7.5, 0.9)
    ring = style.colour if style.marker == "|" else PAPER
    drawn = [(value, place) for place, value in enumerate(values) if value is not None]
    common: dict[str, Any] = {"linestyle": "none", "marker": style.marker, "markersize": size, "clip_on": False}
    # Dots may stand over the rim; the layout must not make room for them (nor for a series that has none).
    common["in_layout"] = False
    xs, ys = zip(*drawn, strict=True) if drawn else ((), ())
    axes.plot(
        xs, ys, color=style.colour, markeredgecolor=ring, markeredgewidth=edge, label=SETS.get(name, name), **common
    )
    if none_at is not None:
        places = [place for place, value in enumerate(values) if value is None]
        common["markersize"] = size - 1
        axes.plot(
            [none_at] * len(places), places, markerfacecolor="none", markeredgecolor=style.colour,
            markeredgewidth=1.2, **common,
        )  # fmt: skip


def style_of(name: str) -> Style:
    """The look of a set; sets that have none of their own share one."""
    return STYLES.get(name, OTHER)


def to_png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure on white; the same bytes from the same numbers."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=PAPER, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure) -> str:
    """The figure as an inline SVG element that takes the colours and the font of the page around it."""
    buffer = io.BytesIO()
    # Matplotlib takes these two from its settings alone; they are as before when the block ends.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "d3s2"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, variable in VARIABLES.items():
        text = re.sub(rf"{colour}\b", f"var({variable})", text, flags=re.IGNORECASE)
    return text


def _plain(axes: Axes) -> None:
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=FONT_PT, colors=FAINT)
    axes.tick_params(axis="y", labelcolor=INK)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside upper left", ncols=len(labels), frameon=False, fontsize=FONT_PT,
            labelcolor=INK, handletextpad=0.4, columnspacing=1.6,
        )  # fmt: skip


def _short(name: str) -> str:
    """A class name that leaves room for the dots."""
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1].rstrip(' ,')}…"


def _rank(name: str) -> int:
    return list(STYLES).index(name) if name in STYLES else len(STYLES)


def _share_ticks(num_panels: int) -> list[float]:
    """Round shares; fewer of them where panels are narrow."""
    steps = (1, 3) if num_panels == 1 else (1,)
    return sorted(step * 10.0**power for power in range(-6, 1) for step in steps if step * 10.0**power <= 1)


def _by_share(frequencies: ClassFrequencies) -> list[int]:
    first = frequencies.shares.get("all") or next(iter(frequencies.shares.values()))
    return sorted(range(len(first)), key=lambda index: (-first[index], index))


def _per_cent(value: float, _: int | None = None) -> str:
    return f"{100 * value:.0f} %"
