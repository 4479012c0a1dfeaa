"""Keeps the evaluation of a run as evidence, and draws the README's tables from what is kept.

    python benchmarks/keep.py runs/camvid        writes benchmarks/camvid_<hardware>_<date>.json, copies the gallery
    python benchmarks/keep.py --tables           writes the tables of README.md anew, from the latest file of each

A kept file is results.json with the judges, the cost of guidance and of each stage beside it.
"""

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

from d3s2.base.files import read_json, write_json, write_text
from d3s2.report.records import set_title

ROOT = Path(__file__).resolve().parents[1]
RUNS = ("scenes", "camvid", "ccp")


def keep(folder: Path) -> Path:
    """Writes the JSON of one run; returns its path."""
    results = read_json(folder / "results.json")
    name = read_json(folder / "run.json")["name"]
    for extra in ("judges", "guidance_cost", "cost"):
        if (folder / f"{extra}.json").exists():
            results[extra] = read_json(folder / f"{extra}.json")
    results["config"] = read_json(folder / "run.json")
    hardware = results["hardware"]
    machine = re.sub(r"[^a-z0-9]+", "-", f"{hardware.get('gpu') or hardware['cpu']} {hardware['cores']} cores".lower())
    path = ROOT / "benchmarks" / f"{name}_{machine.strip('-')}_{results['date'][:10]}.json"
    write_json(path, results)
    picture = ROOT / "docs" / "images" / f"gallery_{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "gallery.png", picture)
    return path


def table(path: Path) -> str:
    """Markdown: a row a set, mean and deviation over seeds, per cent."""
    results = read_json(path)
    random = next((row["miou_mean"] for row in results["sets"] if row["name"] == "random"), None)
    lines = ["| set | images | mIoU, % | tail mIoU, % | of random |", "|---|---:|---:|---:|---:|"]
    for row in results["sets"]:
        mark = "**" if row["name"] == "distilled" else ""
        cells = (
            set_title(row["name"]),
            f"{row['items']:,}",
            f"{100 * row['miou_mean']:.1f} ± {100 * (row['miou_std'] or 0):.1f}",
            f"{100 * row['tail_miou_mean']:.1f} ± {100 * (row['tail_miou_std'] or 0):.1f}",
            f"× {row['miou_mean'] / random:.2f}" if random else "-",
        )
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells) + " |")
    return "\n".join([*lines, "", _caption(path, results)])


def _caption(path: Path, results: dict[str, Any]) -> str:
    row, config = results["sets"][0], results["config"]
    size = " x ".join(map(str, config["data"]["size"]))
    where = f"[`{path.name}`](benchmarks/{path.name})"
    return (
        f"*{config['name']}* at {size} px, {results['dataset']}: mean ± deviation over {len(row['seeds'])} seeds of a "
        f"{row['student']} after {row['iterations']} iterations; tail: the rarest third of the classes. {where}"
    )


def write_tables() -> None:
    """Replaces what stands between the markers in README.md."""
    text = (ROOT / "README.md").read_text()
    for name in RUNS:
        found = sorted((ROOT / "benchmarks").glob(f"{name}_*.json"), key=lambda path: read_json(path)["date"])
        if found:
            new = f"<!-- table:{name} -->\n{table(found[-1])}\n<!-- /table -->"
            text = re.sub(rf"<!-- table:{name} -->.*?<!-- /table -->", lambda _, new=new: new, text, flags=re.DOTALL)
    write_text(ROOT / "README.md", text)


def main() -> None:
    """Reads the call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--tables", action="store_true")
    asked = parser.parse_args()
    if asked.run is not None:
        print(json.dumps({"kept": str(keep(asked.run))}))
    if asked.tables:
        write_tables()


if __name__ == "__main__":
    main()
