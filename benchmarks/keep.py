"""Keeps the evaluation of a run as evidence, and draws the tables of README.md and docs/results.md from what is kept.

    python benchmarks/keep.py runs/camvid        writes benchmarks/camvid_<hardware>_<date>.json, copies the gallery
    python benchmarks/keep.py runs/camvid-grid --judged runs/camvid      the same from an ablation along budgets
    python benchmarks/keep.py runs/long runs/long-5 --name scenes-long      several budgets of a recipe as one table
    python benchmarks/keep.py --tables           writes tables, sentences and curves anew, from the latest file of each

A kept file is results.json with the judges, the cost of guidance and of each stage beside it; older ones are of the
first format of results. Of an ablation along budgets (`d3s2 ablate RECIPE --vary select.ratio=... --split test`) each
record of `sets` says its share of the masks as `budget`; judges and gallery come from an evaluation of the same recipe
at one budget.
"""

import argparse
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from sentences import said

from d3s2.base.formats.files import read_json, write_json, write_text
from d3s2.base.formats.records import record_from
from d3s2.report.comparisons import budget_figure
from d3s2.report.tables import measured
from d3s2.results.ablation import REFERENCE, Ablation, AblationRow
from d3s2.results.older_results import current_row
from d3s2.results.records import SetResult
from d3s2.set_names import ALL, BALANCED, BEST_REAL, RANDOM, SOFT_END, base_for, hard_of, order_of, set_title

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "images"
RUNS = ("scenes", "scenes-long", "camvid", "ccp")
GRID = "ablation-test.json"
LEAST = 0.005  # of a share that others are told as factors of: 0.1 is not five times 0.02
PAGES = ("README.md", "docs/results.md")
BLOCK = re.compile(rf"<!-- (table|says):({'|'.join(RUNS)})(:full)? -->.*?<!-- /\1 -->", re.DOTALL)
OF_ABLATION = ("dataset", "config", "hardware", "date", "commit", "command", "versions")


def keep(folders: Sequence[Path], judged: Path | None = None, name: str | None = None) -> Path:
    """Writes the JSON of one run, of an ablation along budgets, or of a run a budget; returns its path.

    Args:
        judged: a run whose judges, costs and gallery are kept; by default the first one.
        name: of the file, where it is not the recipe's; no gallery is kept then.
    """
    folder, *others = folders
    grid = folder / GRID
    results = of_budgets(read_json(grid)) if grid.exists() else read_kept(folder / "results.json")
    if others:
        results = of_evaluations([results, *(read_kept(other / "results.json") for other in others)])
    evaluated = judged or folder
    for extra in ("judges", "guidance_cost", "cost"):
        if (evaluated / f"{extra}.json").exists():
            results[extra] = read_json(evaluated / f"{extra}.json")
    results.setdefault("config", read_json(evaluated / "run.json"))
    hardware, recipe = results["hardware"], results["config"]["name"]
    name = results["name"] = name or recipe
    machine = re.sub(r"[^a-z0-9]+", "-", f"{hardware.get('gpu') or hardware['cpu']} {hardware['cores']} cores".lower())
    path = ROOT / "benchmarks" / f"{name}_{machine.strip('-')}_{results['date'][:10]}.json"
    write_json(path, results)
    PICTURES.mkdir(parents=True, exist_ok=True)
    if name == recipe and (evaluated / "gallery.png").exists():
        with Image.open(evaluated / "gallery.png") as gallery:  # 256 colours are a third of the bytes
            gallery.quantize(256).save(PICTURES / f"gallery_{name}.png", optimize=True)
    draw_budgets(results)
    return path


def draw_budgets(results: dict[str, Any]) -> None:
    """Writes the curves along budgets of a kept grid, a picture a student; none where there are no budgets."""
    rows = [row for row in results["sets"] if "budget" in row]
    found = Ablation(tuple(map(_ablation_row, rows)), **{key: results[key] for key in OF_ABLATION})
    for student in found.students:
        figure = budget_figure(found, student)
        if figure is not None:
            figure.savefig(
                PICTURES / f"budgets_{results.get('name', results['config']['name'])}_{student}.png", dpi=160
            )


def _ablation_row(row: dict[str, Any]) -> AblationRow:
    kept = {key: value for key, value in row.items() if key in SetResult.__dataclass_fields__}
    axis = REFERENCE if row["name"] == "all" else "budget"
    return AblationRow(axis, "", (), row["budget"], {}, None, record_from(kept, SetResult, row["name"]))


def read_kept(path: Path) -> dict[str, Any]:
    """A kept file, its records of sets in today's form."""
    kept = read_json(path)
    return kept | {"sets": [current_row(row) for row in kept["sets"]]} if "sets" in kept else kept


def of_budgets(ablation: dict[str, Any]) -> dict[str, Any]:
    """The records of an ablation as those of an evaluation, each with its share of the masks; each set once."""
    rows = [row for row in ablation.pop("rows") if row["axis"] == "budget" or row["result"]["name"] == "all"]
    sets = [
        {**current_row(row["result"]), "budget": round(row["share"], 4), "chosen": row.get("chosen")} for row in rows
    ]
    return {"sets": sets, "draws": ablation["config"]["evaluate"]["draws"], **ablation}


def of_evaluations(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The records of evaluations that differ in the budget alone as those of one, each with its share of the masks."""
    first, sets = evaluations[0], list[dict[str, Any]]()
    for results in evaluations:
        (num_all,) = (row["items"] for row in results["sets"] if row["name"] == ALL)
        sets += [
            {**row, "budget": round(row["items"] / num_all, 4)}
            for row in results["sets"]
            if row["name"] != ALL or results is first
        ]
    commands = [results["command"] for results in evaluations]
    return first | {"sets": sets, "commands": commands, "comparisons": []}  # sentences.py compares within a budget


def table(path: Path, full: bool, up: str) -> str:
    """Markdown: a row a set, mean and deviation over seeds, per cent.

    Args:
        full: of a grid, tail mIoU too.
        up: from the page to the root.
    """
    results = read_kept(path)
    if "budget" in results["sets"][0]:
        return budget_table(path, results, full, up)
    rows = {row["name"]: row for row in results["sets"]}
    bases = [name for name in (RANDOM, BEST_REAL) if name in rows]
    heads = ["set", "images", "mIoU, %", "tail mIoU, %", *(f"× {set_title(name)}" for name in bases)]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for row in sorted(rows.values(), key=lambda row: order_of(row["name"])):
        mark = "**" if row["name"] == "distilled" else ""
        cells = (
            set_title(row["name"]),
            f"{row['items']:,}",
            _score(row, "miou"),
            _score(row, "tail_miou"),
            *(_factor(row, rows[base_for(row["name"], base, rows) or base]) for base in bases),
        )
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells) + " |")
    return "\n".join([*lines, "", _caption(path, results, up)])


def _factor(row: dict[str, Any], base: dict[str, Any]) -> str:
    above, below = mean_of(row, "miou"), mean_of(base, "miou")
    return f"× {above / below:.2f}" if above is not None and below else "-"


def budget_table(path: Path, results: dict[str, Any], full: bool, up: str) -> str:
    """Markdown of a grid: a row a set, a column a budget; factors are against real sets of the same number."""
    students = list(dict.fromkeys(row["student"] for row in results["sets"]))
    parts = []
    for student in students:
        rows = [row for row in results["sets"] if row["student"] == student]
        parts += [f"**{student}**, mIoU, %", ""]
        parts += [*_budget_lines(rows, "miou"), ""]
        if full:
            parts += [f"**{student}**, tail mIoU, %", "", *_budget_lines(rows, "tail_miou"), ""]
    return "\n".join([*parts, _caption(path, results, up)])


def _budget_lines(rows: list[dict[str, Any]], score: str) -> list[str]:
    budgets = sorted({row["budget"] for row in rows if row["name"] != "all"})
    heads = [f"{100 * budget:.2g} %" for budget in budgets]
    lines = [f"| set | {' | '.join(heads)} |", f"|---|{'---:|' * len(budgets)}"]
    found = {(row["name"], row["budget"]): row for row in rows}
    for name in sorted({row["name"] for row in rows if row["name"] != ALL}, key=order_of):
        mark = "**" if name == "distilled" else ""
        cells = [
            _measured(name, {one: row for (one, at), row in found.items() if at == budget}, score) for budget in budgets
        ]
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in (set_title(name), *cells)) + " |")
    everything = next((row for row in rows if row["name"] == "all"), None)
    if everything is not None:
        lines.append(f"| {set_title('all')} | {_score(everything, score)} |" + " |" * (len(budgets) - 1))
    return lines


def _measured(name: str, rows: dict[str, dict[str, Any]], score: str) -> str:
    """One set of one budget: the score, its factor of random real, and of the best (or balanced) real one."""
    row = rows.get(name)
    if row is None or mean_of(row, score) is None:
        return "-"
    text = _score(row, score) + (f", {row['chosen']}" if row.get("chosen") else "")
    bases = [rows.get(base_for(name, base, rows) or "") for base in (RANDOM, _best_of(rows))]
    factors = [
        f"× {mean_of(row, score) / mean_of(base, score):.2f}"
        for base in bases
        if base not in (None, row) and hard_of(name) != RANDOM and (mean_of(base, score) or 0) >= LEAST
    ]
    return f"{text} ({', '.join(factors)})" if factors else text


def _best_of(rows: Collection[str]) -> str:
    """The real subset of names of sets that others are told as factors of."""
    return BEST_REAL if BEST_REAL in rows else BALANCED


def mean_of(row: dict[str, Any], score: str) -> Any:
    """The mean of a score, None where the row has none."""
    return row["scores"].get(score, {}).get("mean")


def _score(row: dict[str, Any], score: str) -> str:
    return measured(mean_of(row, score), row["scores"].get(score, {}).get("std"))


def _caption(path: Path, results: dict[str, Any], up: str) -> str:
    row, config = results["sets"][0], results["config"]
    size = " x ".join(map(str, config["data"]["size"]))
    where = f"[`{path.name}`]({up}benchmarks/{path.name})"
    students = dict.fromkeys((row["student"], row["iterations"]) for row in results["sets"])
    trained = " and ".join(f"a {student} after {iterations:,} iterations" for student, iterations in students)
    return (
        f"*{config['name']}* at {size} px, {results['dataset']}: mean ± deviation over {len(row['seeds'])} seeds of "
        f"{trained}; tail: the rarest third of the classes. {_factors(results)}{_spread(results)}{_recounted(results)}"
        f"{where}"
    )


def _factors(results: dict[str, Any]) -> str:
    """What the factors of a grid are of."""
    if "budget" not in results["sets"][0]:
        return ""
    best = _best_of({row["name"] for row in results["sets"]})
    told = f"In brackets: × random real, × {set_title(best)}, both with the same kind of labels"
    if best != BEST_REAL:
        return f"{told}. "
    return f"{told}; behind a best real set, how it was chosen on {_validation_of(results)}. "


def _validation_of(results: dict[str, Any]) -> str:
    return f"{results['config']['name']}/{results['config']['data']['val']}"


def _spread(results: dict[str, Any]) -> str:
    """What deviations are of, and how the best real subset was chosen."""
    draws = results.get("draws", 1)
    told = (
        f"Over {draws} draws of the distilled set"
        if draws > 1
        else "One draw of the distilled set, whose deviation is "
    )
    told += ". " if draws > 1 else "that of students alone. "
    for choice in results.get("best_real", []):
        title = set_title(f"{BEST_REAL}{SOFT_END if choice['soft'] else ''}")
        told += f"{title.capitalize()}: {choice['chosen']}, chosen on {choice['dataset']}. "
    return told


def _recounted(results: dict[str, Any]) -> str:
    """What a reader must know of a kept file that was counted anew (recount.py)."""
    anew = results.get("recounted", {})
    if not anew.get("rows_changed"):
        return ""
    return (
        f"Means are over the {anew['num_classes']} classes that a test mask holds, counted anew on {anew['date']}: "
        f"{anew['rows_changed']} of {len(results['sets'])} rows changed, and a tail "
        "deviation that cannot be told is left out. "
    )


def latest(name: str) -> Path:
    """The latest kept file of a recipe."""
    return max((ROOT / "benchmarks").glob(f"{name}_*.json"), key=lambda path: read_json(path)["date"])


def write_tables() -> None:
    """Draws the curves and writes the pages anew."""
    for name in RUNS:
        draw_budgets(read_kept(latest(name)))
    for page in PAGES:
        write_text(ROOT / page, filled(page))


def filled(page: str) -> str:
    """A page with what stands between its markers made anew from the latest kept files.

    `table:NAME` is a table, `says:NAME` what may be said of it (sentences.py); `:full` behind them has all of a grid,
    and all figures.
    """
    up = "../" * page.count("/")

    def made(found: re.Match[str]) -> str:
        kind, name, full = found[1], found[2], found[3] is not None
        path = latest(name)
        text = table(path, full, up) if kind == "table" else said(read_kept(path), full)
        return f"<!-- {kind}:{name}{found[3] or ''} -->\n{text}\n<!-- /{kind} -->"

    return BLOCK.sub(made, (ROOT / page).read_text(encoding="utf-8"))


def main() -> None:
    """Reads the call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="*", type=Path)
    parser.add_argument("--judged", type=Path, help="a run of the same recipe with judges.json and gallery.png")
    parser.add_argument("--name", help="of the kept file; by default the recipe's")
    parser.add_argument("--tables", action="store_true")
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps({"kept": str(keep(asked.run, asked.judged, asked.name))}))
    if asked.tables:
        write_tables()


if __name__ == "__main__":
    main()
