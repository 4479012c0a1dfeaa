"""What may be said of a kept table: made sets against real ones, seed by seed, in sentences that keep.py puts on pages.

A set is "ahead" or "behind" only where the 95 % interval of the paired difference (Student's t over the seeds,
`results.controls`) does not hold 0; each interval is by itself. A page's block `says:NAME` has the verdicts,
`says:NAME:full` the ratios, differences in points and intervals too.
"""

from collections.abc import Iterator
from typing import Any

from d3s2.results.controls import Comparison, compared_by_seed
from d3s2.set_names import (
    ALL,
    BALANCED,
    BEST_REAL,
    GUIDED,
    RANDOM,
    SOFT_END,
    UNGUIDED,
    base_for,
    hard_of,
    parse_name,
    set_title,
)

SHORT_BASES = (RANDOM, BALANCED, BEST_REAL)
UNKNOWN = "seeds not kept"
Budget = float | None
Found = dict[tuple[str, str, str], dict[Budget, Comparison | None]]
"""(student, set, base) -> budget -> the comparison; None where the seeds of one are not kept."""


def said(results: dict[str, Any], full: bool) -> str:
    """Markdown: a bullet a student, made set and set that it is compared with.

    Args:
        results: a kept file, its rows in today's form.
        full: with figures, and against all real data and unguided images too.
    """
    found = comparisons(results)
    lines = []
    for student in dict.fromkeys(key[0] for key in found):
        mine = {(ours, base): one for (who, ours, base), one in found.items() if who == student}
        for ours in dict.fromkeys(ours for ours, _ in mine):
            bases = [base for name, base in mine if name == ours and (full or hard_of(base) in SHORT_BASES)]
            parts = [f"against {_title(ours, base)} {_verdicts(mine[ours, base], full)}" for base in bases]
            if parts and full:
                lines += [f"- {student}, {set_title(ours)}", *(f"  - {part}" for part in parts)]
            elif parts:
                lines.append(f"- {student}, {set_title(ours)}: {'; '.join(parts)}")
    return "\n".join(lines)


def comparisons(results: dict[str, Any]) -> Found:
    """Every comparison of a made set, budget by budget."""
    found: Found = {}
    for student in dict.fromkeys(row["student"] for row in results["sets"]):
        rows = [row for row in results["sets"] if row["student"] == student]
        budgets = sorted({row["budget"] for row in rows if "budget" in row and row["name"] != ALL}) or [None]
        for budget in budgets:
            at = {row["name"]: row for row in rows if row.get("budget") == budget or hard_of(row["name"]) == ALL}
            for ours, base in _pairs(list(at)):
                found.setdefault((student, ours, base), {})[budget] = _compared(at[ours], at[base])
    return found


def _pairs(names: list[str]) -> Iterator[tuple[str, str]]:
    """Made sets, and what each is compared with."""
    for ours in names:
        parts = parse_name(ours).parts
        if all(part.is_real for part in parts):
            continue
        bases = [base_for(ours, base, names) for base in (RANDOM, BALANCED, BEST_REAL)]
        bases += [UNGUIDED if ours == GUIDED else hard_of(ours), base_for(ours, ALL, names)]
        yield from ((ours, base) for base in dict.fromkeys(bases) if base in names and base != ours)


def _compared(ours: dict[str, Any], base: dict[str, Any]) -> Comparison | None:
    return compared_by_seed(ours["name"], base["name"], ours["student"], _by_seed(ours), _by_seed(base))


def _by_seed(row: dict[str, Any]) -> dict[int, float | None]:
    return dict(zip(row["seeds"], row["per_seed"].get("miou") or [], strict=False))


def _title(ours: str, base: str) -> str:
    """The title of a base; that it has hard labels only is said where ours has soft ones and is another set."""
    hard = ours.endswith(SOFT_END) and not base.endswith(SOFT_END) and base != hard_of(ours)
    return f"{set_title(base)}{' (hard labels)' if hard else ''}"


def _verdicts(by_budget: dict[Budget, Comparison | None], full: bool) -> str:
    """'ahead at 5 % and 10 %, not told apart at 1 %', with figures where they are asked for."""
    groups: dict[str, list[str]] = {}
    for budget, one in by_budget.items():
        where = "" if budget is None else f"{100 * budget:.2g} %"
        figures = "" if one is None or not full or one.ratio is None else f"× {one.ratio:.2f}, {one.text}"
        cell = f"{where} [{figures}]" if where and figures else where or f"[{figures}]" if figures else where
        groups.setdefault(UNKNOWN if one is None else one.verdict, []).append(cell)
    return ", ".join(_group(verdict, cells) for verdict, cells in groups.items())


def _group(verdict: str, cells: list[str]) -> str:
    if not any(cells):
        return verdict
    listed = cells[0] if len(cells) == 1 else f"{', '.join(cells[:-1])} and {cells[-1]}"
    return f"{verdict} {listed}" if listed.startswith("[") else f"{verdict} at {listed}"
