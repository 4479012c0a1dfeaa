"""What README.md and docs/results.md say of kept tables, against the JSON that they come from."""

import re
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean
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
UNET = "compact-unet"
BUDGETS = (0.0103, 0.0496)
"""Shares of CCP's photos: 1 % and 5 %."""
AT_5 = 1.3
"""Goal of the project on CCP at 5 %, times random."""
ORDER = re.compile(r"\b(?:ahead|behind|better than|worse than|beats?|beaten|outperforms?)\b")
"""Words that tell an order of two sets."""
README, RESULTS = "README.md", "docs/results.md"


@cache
def kept(name: str) -> dict[str, Any]:
    """The latest kept file of a recipe, as the tables take it."""
    content = max(map(read_json, (ROOT / "benchmarks").glob(f"{name}_*.json")), key=lambda content: content["date"])
    return content | {"sets": [current_row(row) for row in content.get("sets", [])]}


def row(name: str, set_name: str, budget: int | None = None) -> dict[str, Any]:
    """A record of a U-Net; `budget` is 0 or 1, and None for sets that have none."""
    share = None if budget is None or set_name == "all" else BUDGETS[budget]
    rows = [row for row in kept(name)["sets"] if (row["student"], row["name"]) == (UNET, set_name)]
    (found,) = [row for row in rows if share is None or row["budget"] == share]
    return found


def mean_of(one: dict[str, Any], score: str = "miou") -> float:
    return current_row(one)["scores"][score]["mean"]


def miou(name: str, set_name: str, budget: int | None = None, score: str = "miou") -> str:
    return f"{100 * mean_of(row(name, set_name, budget), score):.1f}"


def ratio(name: str, set_name: str, base: str, budget: int | None = None) -> float:
    return mean_of(row(name, set_name, budget)) / mean_of(row(name, base, budget))


def of_class(name: str, set_name: str, class_name: str, budget: int | None = None, digits: int = 1) -> str:
    names = (CCP if name == "ccp" else CAMVID).names
    return f"{100 * row(name, set_name, budget)['per_class']['iou'][names.index(class_name)]:.{digits}f}"


def judged(name: str) -> dict[str, str]:
    """What the independent network reads, by set."""
    return {one["name"]: f"{100 * one['independent_miou']:.1f}" for one in kept(name)["judges"]["rows"]}


def times(name: str, set_name: str, base: str, budget: int | None = None) -> str:
    """'× 1.05': a set over a real one with the same kind of labels."""
    return f"× {ratio(name, set_name, base + set_name.removeprefix('distilled'), budget):.2f}"


def of_goals() -> list[str]:
    """The goals of the project, each with what came out."""
    scenes, ccp = partial(times, "scenes"), partial(times, "ccp")
    return [
        f"{scenes('distilled', 'best-real')} on `scenes`, {ccp('distilled', 'best-real', 1)} on CCP at 5 % and "
        f"{ccp('distilled', 'best-real', 0)} at 1 %, {times('camvid', 'distilled', 'best-real')} on CamVid",
        f"with soft labels {scenes('distilled-soft', 'best-real')} on `scenes`, "
        f"{ccp('distilled-soft', 'best-real', 1)} on CCP at 5 %",
        f"over random photos it is {ccp('distilled', 'random', 1)} at 5 % and {ccp('distilled', 'random', 0)} at 1 %",
    ]


def of_readme() -> list[str]:
    counted = sum(share is not None for share in row("ccp", "all")["per_class"]["iou"])
    return [f"59 classes ({counted} of them in the test masks)", *of_goals()]


def of_long(set_name: str, share: float) -> dict[str, Any]:
    """A record of students of `scenes` that trained for four times the iterations, by the share of the masks."""
    sets = kept("scenes-long")["sets"]
    return next(one for one in sets if one["name"] == set_name and (set_name == "all" or one["budget"] == share))


def of_scenes_long() -> list[str]:
    at_1 = {name: mean_of(of_long(name, 0.01)) for name in ("all", "distilled", "distilled-soft")}
    at_5 = {name: mean_of(of_long(name, 0.05)) for name in ("balanced", "composed", "distilled-unguided", "distilled")}
    soon = {name: mean_of(row("scenes", name)) for name in at_1}
    gained = {name: f"{100 * (at_1[name] - soon[name]):.1f}" for name in at_1}
    points = {name: f"{100 * share:.1f}" for name, share in at_5.items()}
    return [
        f"All real pairs gain {gained['all']} points by it and 20 distilled ones {gained['distilled']}: what were "
        f"{soon['distilled'] / soon['all']:.2f} of all real after 1,500 iterations are "
        f"{at_1['distilled'] / at_1['all']:.2f} after 6,000, with soft labels "
        f"{at_1['distilled-soft'] / at_1['all']:.2f}",
        f"100 class-balanced real pairs give {points['balanced']}, all 2,000 {100 * at_1['all']:.1f}",
        f"the real pixels of the masks that images are made for give {points['composed']}, images without guidance "
        f"{points['distilled-unguided']}, guided ones {points['distilled']}",
    ]


def of_readme_long() -> list[str]:
    told = {name: f"{100 * mean_of(of_long(name, 0.01)):.1f}" for name in ("all", "distilled", "distilled-soft")}
    at_5 = {name: f"{100 * mean_of(of_long(name, 0.05)):.1f}" for name in ("balanced", "distilled")}
    return [
        f"all real pairs give {told['all']}, the 20 distilled ones {told['distilled']}, {told['distilled-soft']} with "
        f"soft labels; of 5 % of the masks, 100 class-balanced real pairs give {at_5['balanced']} and 100 distilled "
        f"ones {at_5['distilled']}"
    ]


def of_camvid() -> list[str]:
    of, seen = partial(of_class, "camvid"), judged("camvid")
    made = ("distilled-unguided", "distilled")
    (choice,) = kept("camvid")["best_real"]
    by = {name: f"{100 * fmean(values):.1f}" for name, values in choice["scores"].items()}
    bicyclist, pole, tree = ([of(name, one) for name in made] for one in ("bicyclist", "pole", "tree"))
    building, pavement = (
        [of(name, one) for name in ("all", "random", "best-real")] for one in ("building", "pavement")
    )
    return [
        f"gave {by['balanced']} there, herding {by['herding']}, facility location {by['facility-location']}",
        f"random frames give {miou('camvid', 'random')}, the class-balanced {miou('camvid', 'best-real')}",
        f"All 367 frames give {miou('camvid', 'all')}: building {building[0]} where 18 random frames give "
        f"{building[1]} and 18 balanced ones {building[2]}, pavement {pavement[0]}, {pavement[1]} and {pavement[2]}",
        f"the balanced frames ({of('best-real', 'fence')}) than after random ones ({of('random', 'fence')})",
        f"the guided images at {seen['distilled']} mIoU, the unguided ones at {seen['distilled-unguided']}, their "
        f"frames at {seen['own-real']}",
        f"bicyclist {bicyclist[0]} unguided, {bicyclist[1]} guided; pole {' and '.join(pole)}; "
        f"tree {' and '.join(tree)}",
    ]


def reached(set_name: str, budget: int | None) -> int:
    """Classes of CCP with an IoU of at least 1 %."""
    return sum((share or 0) >= 0.01 for share in row("ccp", set_name, budget)["per_class"]["iou"])


def changes(before: str, after: str, classes: Sequence[str]) -> str:
    """Of CCP at 5 %: class, its IoU on one set, on the other."""
    told = [(one, of_class("ccp", before, one, 1), of_class("ccp", after, one, 1)) for one in classes]
    return ", ".join(f"{one} {first} to {last}" for one, first, last in told)


def of_ccp() -> list[str]:
    at_5 = {
        name: miou("ccp", name, 1) for name in ("random", "best-real", "distilled", "random-soft", "distilled-soft")
    }
    size = {name: f"{row('ccp', name, 1)['bytes'] / 1e6:.2f}" for name in ("random", "random-soft")}
    return [
        f"three random draws gave {at_5['random']} on average, the chosen photos {at_5['best-real']}",
        f"{AT_5} times random at 5 % would be {AT_5 * 100 * mean_of(row('ccp', 'random', 1)):.1f}, "
        f"and all 585 photos give {miou('ccp', 'all')} after as many steps",
        f"One of all photos reaches 1 % IoU in {reached('all', None)} of the classes, one of 29 random photos in "
        f"{reached('random', 1)}, of 29 distilled ones in {reached('distilled', 1)}.",
        changes("best-real", "distilled", ("jeans", "shoes", "coat", "hair")),
        changes("best-real", "distilled", ("stockings", "null")),
        f"random photos from {at_5['random']} to {at_5['random-soft']} and distilled images from {at_5['distilled']} "
        f"to {at_5['distilled-soft']} at 5 %",
        f"({size['random-soft']} against {size['random']} MB for random photos)",
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
    README: [*of_readme(), *of_readme_long()],
    RESULTS: [*of_scenes_long(), *of_camvid(), *of_ccp()],
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


def test_kept_tables_count_the_classes_of_the_truth() -> None:
    for path in (ROOT / "benchmarks").glob("*.json"):
        content = read_json(path)
        rows = map(current_row, content.get("sets", []) if isinstance(content, dict) else [])
        for one in (row for row in rows if row["per_class"].get("iou")):
            absent = content.get("recounted", {}).get("classes_in_no_test_mask", [])
            counted = [share for index, share in enumerate(one["per_class"]["iou"]) if index not in absent]
            known = [share for share in counted if share is not None]
            assert not absent or known == counted, f"{path.name}: {one['name']}"
            assert sum(known) / len(known) == pytest.approx(mean_of(one), abs=1e-9), f"{path.name}: {one['name']}"
            if one["per_seed"].get("miou"):
                assert sum(one["per_seed"]["miou"]) / len(one["seeds"]) == pytest.approx(mean_of(one), abs=1e-9)
