"""Draws the figure of docs/selection.md from a result of benchmarks/selection.py, and prints its tables as Markdown.

python benchmarks/selection_page.py benchmarks/selection_2026-11-22.json --figure docs/images/selection.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

BALANCED, RANDOM = "#1f6fb4", "#c4512f"


def main() -> None:
    """Figure and tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    result = json.loads(arguments.result.read_text(encoding="utf-8"))
    if arguments.figure:
        draw(result, arguments.figure)
    print("\n\n".join([coverage_table(result), apricot_table(result), curve_table(result)]))


def draw(result: dict[str, Any], path: Path) -> None:
    """Three panels: masks a class, classes left out, time."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    draw_masks_per_class(left, result["masks_per_class"])
    draw_left_out(middle, result["sweep"])
    draw_time(right, result["curve"])
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def draw_masks_per_class(axes: Axes, held: dict[str, list[float]]) -> None:
    """How often each class is there in the chosen set."""
    axes.plot(held["random"], color=RANDOM, label="random, mean of 20 draws")
    axes.plot(held["balanced"], color=BALANCED, label="class-balanced")
    axes.set(
        yscale="symlog",
        xlabel="classes, from common to rare",
        ylabel="chosen masks that hold the class",
        title="ADE20K frequencies, 1 % chosen",
    )
    axes.legend(frameon=False)


def draw_left_out(axes: Axes, sweep: list[dict[str, Any]]) -> None:
    """Classes without a mask, by world."""
    worlds = [world for world in dict.fromkeys(row["world"] for row in sweep) if world != "CamVid"]
    for world, style in zip(worlds, ("-", "--", ":"), strict=False):
        rows = [row for row in sweep if row["world"] == world]
        ratios = [100 * row["ratio"] for row in rows]
        axes.plot(ratios, [row["random_left_out"] for row in rows], style, color=RANDOM, label=f"random, {world}")
        axes.plot(ratios, [row["balanced_left_out"] for row in rows], style, color=BALANCED, label=f"balanced, {world}")
    axes.set(xscale="log", xlabel="masks chosen, %", ylabel="classes with no mask at all", title="Classes left out")
    axes.set_xticks([0.5, 1, 2, 5, 10], labels=["0.5", "1", "2", "5", "10"])
    axes.legend(frameon=False, fontsize=8)


def draw_time(axes: Axes, curve: list[dict[str, Any]]) -> None:
    """Processor time against the number of masks."""
    axes.plot([row["num_all"] for row in curve], [row["cpu_s"] for row in curve], "o-", color=BALANCED)
    for row in curve:
        axes.annotate(f" K = {row['num_masks']:,}", (row["num_all"], row["cpu_s"]), fontsize=8, va="top")
    axes.set(xscale="log", yscale="log", xlabel="masks", ylabel="seconds, one core", title="Cost, 171 classes")


def coverage_table(result: dict[str, Any]) -> str:
    """A row a method, a column a world and ratio: classes left out / masks a rare class / pixels of rare classes."""
    rows = {(row["method"], row["world"], row["ratio"]): row for row in result["coverage"]}
    columns = list(dict.fromkeys((row["world"], row["ratio"]) for row in result["coverage"]))
    sizes = {(row["world"], row["ratio"]): (row["num_masks"], row["num_classes"]) for row in result["coverage"]}
    heads = [
        f"{world}, {num_classes} classes: {num_masks:,} masks ({100 * ratio:g} %)"
        for (world, ratio), (num_masks, num_classes) in sizes.items()
    ]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in result["coverage"]):
        cells = [cell(rows[method, *column]) if (method, *column) in rows else "" for column in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(row: dict[str, Any]) -> str:
    """The three measures, the first with its deviation where there are draws."""
    left_out = f"{row['classes_left_out']:g}"
    if "classes_left_out_std" in row:
        left_out = f"{row['classes_left_out']:.1f} ± {row['classes_left_out_std']:.1f}"
    return f"{left_out} / {row['tail_masks_per_class']:.2f} / {row['tail_pixels_percent']:.1f} %"


def apricot_table(result: dict[str, Any]) -> str:
    """Both sides on the same matrix."""
    lines = [
        "| masks | chosen | apricot-select's optimiser | its seconds | ours | ratio | its F | ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["against_apricot"] + result["against_apricot_full"]:
        if "failed" in row:
            lines.append(f"| {row['num_all']:,} | | {row['failed']} | | | | | |")
            continue
        cells = [f"{row['num_all']:,}", f"{row['num_masks']:,}", row["optimizer"], f"{row['apricot_cpu_s']:.2f}"]
        cells += [f"{row['ours_cpu_s']:.2f}", f"{row['ratio_cpu']:.1f}"]
        cells += [f"{row['apricot_value']:.3f}", f"{row['ours_value']:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def curve_table(result: dict[str, Any]) -> str:
    """Cost against size."""
    lines = [
        "| masks | chosen | processor seconds | pixel counts in memory, GiB | peak of the process, GiB |",
        "|---|---|---|---|---|",
    ]
    for row in result["curve"]:
        cells = [f"{row['num_all']:,}", f"{row['num_masks']:,}", f"{row['cpu_s']:.2f}"]
        cells += [f"{row['pixels_gib']:.2f}", f"{row['peak_memory_gib']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
