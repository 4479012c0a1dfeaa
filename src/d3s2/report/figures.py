"""Figures of one run: class frequencies, IoU of each class, mIoU of each set, energies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from d3s2.metrics import MIOU
from d3s2.report.drawing import (
    FAINT,
    FONT_PT,
    INK,
    PAPER,
    RULE,
    STYLES,
    WIDTH_IN,
    legend,
    per_cent,
    plain,
    set_label,
    short,
    style_of,
)
from d3s2.results import Results

MAX_ROWS = 90


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
    tail = {short(results.class_names[index]) for index in results.tail_classes}
    figure, panels = _dot_panels(names, series, none_at=None)
    for axes in panels:
        axes.set_xlim(-0.03, 1.0)
        axes.xaxis.set_major_formatter(FuncFormatter(per_cent))
        for label in axes.get_yticklabels():
            if label.get_text() in tail:
                label.set_fontweight("bold")
    return figure


def miou_figure(results: Results, student: str) -> Figure:
    """Mean mIoU of each set with its deviation, and every seed as a dot."""
    rows = [row for row in results.of(student) if MIOU in row.scores]
    figure = Figure(figsize=(WIDTH_IN, 0.55 + 0.42 * max(len(rows), 1)), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    for place, row in enumerate(rows):
        style, mean, std = style_of(row.name), row.scores[MIOU].mean, row.std(MIOU) or 0.0
        axes.barh(place, mean, height=0.58, color=style.colour, linewidth=0)
        if row.std(MIOU) is not None:
            axes.errorbar(mean, place, xerr=std, color=INK, linewidth=1.2, capsize=3.5, capthick=1.2)
        seeds = row.known_per_seed(MIOU)
        axes.plot(
            seeds, [place] * len(seeds), "o", markersize=4.5, markerfacecolor=PAPER, markeredgecolor=INK,
            markeredgewidth=0.9, zorder=5,
        )  # fmt: skip
        right = max(mean + std, *seeds, mean)
        axes.annotate(
            f"{100 * mean:.1f} %", (right, place), (7, 0), textcoords="offset points", va="center",
            fontsize=FONT_PT + 1, fontweight="bold", color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [set_label(row.name) for row in rows], fontsize=FONT_PT + 1)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    farthest = max((row.scores[MIOU].mean + (row.std(MIOU) or 0.0) for row in rows), default=0.0)
    axes.set_xlim(0, 1.14 * farthest or 1)
    axes.xaxis.set_major_formatter(FuncFormatter(per_cent))
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    return figure


def energy_figure(traces: Sequence[EnergyTrace]) -> Figure:
    """Each energy over the steps: mean over items, and the band that holds eight items in ten."""
    traces = [trace for trace in traces if trace.measured]
    energies = list(dict.fromkeys(trace.energy for trace in traces))
    figure = Figure(figsize=(WIDTH_IN, 3.1), layout="constrained")
    panels = figure.subplots(1, len(energies), squeeze=False)[0]
    for axes, energy in zip(panels, energies, strict=True):
        plain(axes)
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        for trace in traces:
            if trace.energy == energy:
                _draw_trace(axes, trace)
        axes.set_title(f"{energy} energy", loc="left", fontsize=FONT_PT + 1, fontweight="bold", color=INK)
        axes.set_xlabel("sampling step", fontsize=FONT_PT, color=FAINT)
        axes.set_ylim(bottom=0)
        axes.set_xmargin(0.02)
    legend(figure, panels[0])
    return figure


def _draw_trace(axes: Axes, trace: EnergyTrace) -> None:
    seen = np.flatnonzero(np.isfinite(trace.values).any(axis=0))
    columns = [column[np.isfinite(column)] for column in trace.values[:, seen].T]
    mean = [float(column.mean()) for column in columns]
    low, high = zip(*(np.percentile(column, (10, 90)) for column in columns), strict=True)
    style = style_of(trace.series)
    axes.fill_between(seen + 1, low, high, color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(seen + 1, mean, color=style.colour, linewidth=2, label=set_label(trace.series))


def _dot_panels(
    names: Sequence[str], series: Mapping[str, Sequence[float | None]], none_at: float | None
) -> tuple[Figure, list[Axes]]:
    """A line a class and a dot a set, in as many columns as keep every name readable."""
    num_columns = min(4, math.ceil(len(names) / MAX_ROWS))
    num_rows = math.ceil(len(names) / num_columns)
    figure = Figure(figsize=(WIDTH_IN, 0.8 + 0.215 * num_rows), layout="constrained")
    panels = list(figure.subplots(1, num_columns, squeeze=False)[0])
    for column, axes in enumerate(panels):
        plain(axes)
        here = range(column * num_rows, min((column + 1) * num_rows, len(names)))
        axes.hlines(range(len(here)), 0, 1, transform=axes.get_yaxis_transform(), color=RULE, linewidth=0.8)
        for name, values in series.items():
            _draw_dots(axes, name, [values[index] for index in here], none_at)
        axes.set_yticks(range(len(here)), [short(names[index]) for index in here], fontsize=FONT_PT, color=INK)
        axes.set_ylim(num_rows - 0.4, -0.6)
    legend(figure, panels[0])
    return figure, panels


def _draw_dots(axes: Axes, name: str, values: Sequence[float | None], none_at: float | None) -> None:
    style = style_of(name)
    size, edge = (10.0, 2.8) if style.marker == "|" else (7.5, 0.9)
    ring = style.colour if style.marker == "|" else style.edge
    drawn = [(value, place) for place, value in enumerate(values) if value is not None]
    common: dict[str, Any] = {"linestyle": "none", "marker": style.marker, "markersize": size, "clip_on": False}
    # Dots may stand over the rim; the layout must not make room for them (nor for a series that has none).
    common["in_layout"] = False
    xs, ys = zip(*drawn, strict=True) if drawn else ((), ())
    axes.plot(
        xs, ys, color=style.colour, markerfacecolor=style.fill, markeredgecolor=ring, markeredgewidth=edge,
        label=set_label(name), **common,
    )  # fmt: skip
    if none_at is not None:
        places = [place for place, value in enumerate(values) if value is None]
        common["markersize"] = size - 1
        axes.plot(
            [none_at] * len(places), places, markerfacecolor="none", markeredgecolor=style.colour,
            markeredgewidth=1.2, **common,
        )  # fmt: skip


def _rank(name: str) -> int:
    return list(STYLES).index(name) if name in STYLES else len(STYLES)


def _share_ticks(num_panels: int) -> list[float]:
    """Round shares; fewer of them where panels are narrow."""
    steps = (1, 3) if num_panels == 1 else (1,)
    return sorted(step * 10.0**power for power in range(-6, 1) for step in steps if step * 10.0**power <= 1)


def _by_share(frequencies: ClassFrequencies) -> list[int]:
    first = frequencies.shares.get("all") or next(iter(frequencies.shares.values()))
    return sorted(range(len(first)), key=lambda index: (-first[index], index))
