"""What README.md and docs/results.md say of kept tables, against the JSON that they come from."""

import re
import sys
from collections.abc import Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_rel

from d3s2.base.formats.files import read_json
from d3s2.data.known.camvid import SPACE as CAMVID
from d3s2.data.known.ccp import SPACE as CCP
from d3s2.results.older_results import current_row

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import keep
import sentences

ROOT = Path(__file__).resolve().parents[2]
UNET, SEGFORMER = "compact-unet", "segformer-b0"
BUDGETS = {"ccp": (0.01, 0.0499, 0.0997), "camvid": (0.0109, 0.049, 0.1008)}
ORDER = re.compile(r"\b(?:ahead|behind|better than|worse than|beats?|beaten|outperforms?)\b")
"""Words that tell an order of two sets."""
README, RESULTS = "README.md", "docs/results.md"


@cache
def kept(name: str) -> dict[str, Any]:
    """The latest kept file of a recipe, as the tables take it."""
    content = max(map(read_json, (ROOT / "benchmarks").glob(f"{name}_*.json")), key=lambda content: content["date"])
    return content | {"sets": [current_row(row) for row in content.get("sets", [])]}


def row(name: str, student: str, set_name: str, budget: int | None = None) -> dict[str, Any]:
    """A record; `budget` is 0, 1 or 2, and None for sets that have none."""
    share = None if budget is None or set_name == "all" else BUDGETS[name][budget]
    rows = [row for row in kept(name)["sets"] if (row["student"], row["name"]) == (student, set_name)]
    (found,) = [row for row in rows if share is None or row["budget"] == share]
    return found


def mean_of(one: dict[str, Any], score: str = "miou") -> float:
    return current_row(one)["scores"][score]["mean"]


def miou(name: str, student: str, set_name: str, budget: int | None = None, score: str = "miou") -> float:
    return 100 * mean_of(row(name, student, set_name, budget), score)


def ratio(name: str, student: str, set_name: str, budget: int, score: str = "miou") -> str:
    ours, random = (miou(name, student, one, budget, score) for one in (set_name, "random"))
    return f"{ours / random:.2f}"


def ratios(name: str, student: str, set_name: str, score: str = "miou") -> list[str]:
    return [ratio(name, student, set_name, budget, score) for budget in range(3)]


def span(name: str, student: str, set_name: str) -> str:
    found = ratios(name, student, set_name)
    return f"{min(found)} to {max(found)}"


def gain(student: str, budget: int) -> str:
    """Points that soft labels add on CamVid."""
    hard, soft = (miou("camvid", student, name, budget) for name in ("distilled", "distilled-soft"))
    return f"{soft - hard:.1f}"


def of_class(name: str, student: str, set_name: str, class_name: str, digits: int = 0) -> str:
    """IoU of a class at 5 %."""
    names = (CCP if name == "ccp" else CAMVID).names
    return f"{100 * row(name, student, set_name, 1)['per_class']['iou'][names.index(class_name)]:.{digits}f}"


def reached(set_name: str, budget: int | None) -> int:
    """Classes of CCP with an IoU of at least 1 %."""
    return sum((share or 0) >= 0.01 for share in row("ccp", UNET, set_name, budget)["per_class"]["iou"])


def changes(name: str, before: str, after: str, classes: Sequence[str]) -> str:
    """Of U-Nets at 5 %: class, its IoU on one set, on the other."""
    told = [(one, of_class(name, UNET, before, one), of_class(name, UNET, after, one)) for one in classes]
    return ", ".join(f"{one} {first} to {last}" for one, first, last in told)


def largest_change() -> float:
    """Share of a mIoU that the rule before took from it, in per cent."""
    changed = [one for one in kept("ccp")["sets"] if "as_first_kept" in one]
    return max(100 * (1 - one["as_first_kept"]["miou_mean"] / mean_of(one)) for one in changed)


def of_readme() -> list[str]:
    return [f"59 classes ({kept('ccp')['recounted']['num_classes']} of them in the test masks)"]


def of_camvid() -> list[str]:
    unet, segformer = partial(miou, "camvid", UNET), partial(miou, "camvid", SEGFORMER)
    seg_class = partial(of_class, "camvid", SEGFORMER)
    judged = {one["name"]: one for one in kept("camvid")["judges"]["rows"]}
    guided, unguided = (100 * judged[name]["independent_miou"] for name in ("distilled", "distilled-unguided"))
    return [
        f"already train a U-Net to {unet('random', 0):.1f}, all 367 to {unet('all'):.1f}",
        f"1.2 times random at 5 % would be {1.2 * unet('random', 1):.1f}, above all real data",
        f"1.6 times at 1 % would be {1.6 * unet('random', 0):.0f}",
        f"real images train a U-Net to {unet('balanced', 1):.1f}, unguided ones to {unet('distilled-unguided', 1):.1f}",
        f"({changes('camvid', 'balanced', 'distilled-unguided', ('car', 'building', 'pavement', 'tree'))};",
        f"fence {seg_class('random', 'fence', digits=1)} after random frames",
        f"{seg_class('distilled', 'fence', digits=1)} after guided images",
        f"tree {seg_class('random', 'tree')} and {seg_class('distilled', 'tree')})",
        f"(building {seg_class('random', 'building')} and {seg_class('distilled', 'building')})",
        f"all real data ({segformer('all'):.1f}) do not stand clear",
        f"reads the guided images at {guided:.1f} mIoU, the unguided ones at {unguided:.1f}",
        f"real image of {100 * judged['distilled']['authenticity']:.0f} % of them",
    ]


def of_ccp() -> list[str]:
    unet, unet_class = partial(miou, "ccp", UNET), partial(of_class, "ccp", UNET)
    seg_mious = [100 * mean_of(one) for one in kept("ccp")["sets"] if one["student"] == SEGFORMER]
    tail = max(100 * mean_of(one, "tail_miou") for one in kept("ccp")["sets"])
    size = {name: row("ccp", UNET, name, 1)["bytes"] / 1e6 for name in ("distilled", "distilled-soft")}
    twice = row("ccp", UNET, "random", 2)["bytes"] / 1e6
    classes = ("jeans", "shorts", "leggings", "coat", "dress")
    return [
        f"(the SegFormer is at {ratio('ccp', SEGFORMER, 'distilled-soft', 1)})",
        f"drew {kept('ccp')['recounted']['rows_changed']} of the {len(kept('ccp')['sets'])} rows down",
        f"rows down by up to {largest_change():.0f} %",
        f"1 % IoU in {reached('all', None)} of the classes, one of 35 random pairs in {reached('random', 1)}",
        f"of 35 guided images in {reached('distilled', 1)}",
        f"(10 %: {reached('random', 2)} and {reached('distilled', 2)} after 70)",
        changes("ccp", "distilled-unguided", "distilled", classes),
        f"skin {unet_class('random', 'skin')} after random real pairs, "
        f"{unet_class('distilled', 'skin')} after guided images",
        f"(skin {unet_class('distilled-soft', 'skin')}, shoes {unet_class('distilled-soft', 'shoes')} against "
        f"{unet_class('distilled', 'shoes')}, blouse {unet_class('distilled-soft', 'blouse')} against "
        f"{unet_class('distilled', 'blouse')})",
        f"({size['distilled-soft']:.2f} against {size['distilled']:.2f} MB)",
        f"35 soft-labelled images give {unet('distilled-soft', 1):.1f}, 70 random real pairs of {twice:.1f} MB "
        f"with hard labels {unet('random', 2):.1f}",
        f"near 0 for every set (at most {tail:.1f})",
        f"end between {min(seg_mious):.1f} and {max(seg_mious):.1f} for every set",
    ]


def of_soft_labels() -> list[str]:
    """Rows of the table of cells."""
    return [
        f"{100 * mean_of(found):.1f} | {100 * mean_of(found, 'tail_miou'):.1f} | {found['soft_bytes']:,}"
        for found in kept("soft-labels")["variants"].values()
    ]


def of_pages() -> list[str]:
    """Rows of the table of page sizes."""
    found = [kept(f"page-size_{name}") for name in ("ccp", "camvid")]
    return [
        f"{one['classes']} | {one['items']:,} | {one['shown_px'][0]} x {one['shown_px'][1]} px | "
        f"{one['page_bytes'] / 1e6:.1f} MB"
        for one in found
    ]


CLAIMS = {
    README: of_readme(),
    RESULTS: [*of_camvid(), *of_ccp()],
    "docs/distilled-set.md": of_soft_labels(),
    "docs/page.md": of_pages(),
}


@pytest.mark.parametrize(("page", "says"), [(page, says) for page in CLAIMS for says in CLAIMS[page]])
def test_the_page_says_what_the_json_holds(page: str, says: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").replace("**", "").split())
    assert " ".join(says.split()) in text, f"{page} should say: {says}"


@pytest.mark.parametrize("page", keep.PAGES)
def test_tables_and_sentences_of_a_page_are_made_from_the_json(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(keep.BLOCK.findall(text)) == text.count("<!-- table:") + text.count("<!-- says:") > 3
    assert keep.filled(page) == text, "python benchmarks/keep.py --tables writes them anew"


@pytest.mark.parametrize("page", keep.PAGES)
def test_an_order_of_sets_is_told_by_the_maker_of_sentences_alone(page: str) -> None:
    by_hand = keep.BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    assert ORDER.findall(by_hand) == []


@pytest.mark.parametrize("name", keep.RUNS)
def test_sentences_say_ahead_only_where_the_interval_leaves_0_out(name: str) -> None:
    results, told = keep.read_kept(keep.latest(name)), 0
    for (student, ours, base), by_budget in sentences.comparisons(results).items():
        for budget, one in by_budget.items():
            mine = [row for row in results["sets"] if row["student"] == student]
            rows = {row["name"]: row for row in mine if row.get("budget") == budget or row["name"].startswith("all")}
            if one is not None:
                scores = (rows[name]["per_seed"]["miou"] for name in (ours, base))
                low, high = ttest_rel(*scores).confidence_interval(0.95)
                expected = "ahead" if low > 0 else "behind" if high < 0 else "not told apart"
                assert one.verdict == expected
                told += sentences.said(results, full=True).count(f"× {one.ratio:.2f}, {one.text}]") > 0
    assert told > 3


def test_goals_that_the_pages_call_met_are_met() -> None:
    """1.2 times random at 5 %, 1.6 times at 1 %."""
    grid = list(product(BUDGETS, (UNET, SEGFORMER), ("distilled", "distilled-soft")))
    assert [one for one in grid if float(ratio(*one, 1)) >= 1.2] == [("ccp", UNET, "distilled-soft")]
    assert not [one for one in grid if float(ratio(*one, 0)) >= 1.6]


def test_kept_tables_count_the_classes_of_the_truth() -> None:
    for path in (ROOT / "benchmarks").glob("*.json"):
        content = read_json(path)
        rows = map(current_row, content.get("sets", []) if isinstance(content, dict) else [])
        for one in (row for row in rows if row["per_class"].get("iou")):
            absent = content["recounted"]["classes_in_no_test_mask"] if "recounted" in content else []
            known = [share for index, share in enumerate(one["per_class"]["iou"]) if index not in absent]
            assert None not in known, f"{path.name}: {one['name']}"
            assert sum(known) / len(known) == pytest.approx(mean_of(one), abs=1e-9), f"{path.name}: {one['name']}"
            if one["per_seed"].get("miou"):
                assert sum(one["per_seed"]["miou"]) / len(one["seeds"]) == pytest.approx(mean_of(one), abs=1e-9)
