"""How the code is built, in numbers, and whether they keep the bars that the project set itself.

    python benchmarks/code_bars.py
    python benchmarks/code_bars.py --out benchmarks/code_bars_DATE.json

What a package exports is what the stub beside its `__init__` names; `base`, the foundation, is modules that stand for
themselves. An export is used outside where another package or an example imports it. Lines are those of files; lines of
code hold anything but a comment or a docstring. Exit status 1 where a bar is not kept.
"""

import argparse
import ast
import json
import sys
import tokenize
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from d3s2.base.formats.files import write_json
from d3s2.base.machine.runtime import commit

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "d3s2"
LONG_BY_NATURE = ("data/known/scenes.py",)
"""One algorithm that is read in one piece."""

MAX_LINES, MAX_MODULES, MAX_EXPORTS, MAX_UNUSED = 300, 14, 15, 0.10


def main() -> None:
    """Measures, prints one JSON object, and writes it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    broken = list(problems())
    told = {"benchmark": "code_bars", "date": datetime.now(UTC).date().isoformat(), "commit": commit(), **measured()}
    told |= {"command": " ".join(["python", *sys.argv]), "bars_broken": broken}
    if asked.out:
        write_json(asked.out, told)
    print(json.dumps(told, indent=2))
    raise SystemExit(1 if broken else 0)


def measured() -> dict[str, Any]:
    """Every figure."""
    lengths, sizes, packages = module_lines(), directory_modules(), package_exports()
    longest, fullest = max(lengths, key=lengths.__getitem__), max(sizes, key=sizes.__getitem__)
    unused = unused_exports()
    return {
        "files": len(list(SOURCE.rglob("*.py"))),
        "lines": sum(len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")),
        "longest_module": {"path": longest, "lines": lengths[longest]},
        "fullest_directory": {"path": fullest, "modules": sizes[fullest]},
        "comments": comment_density(),
        "packages": {
            package: {"exports": len(names), "unused_outside": unused[package], "share_unused": share_unused(package)}
            for package, names in packages.items()
        },
        "imports_past_exports": imports_past_exports(),
    }


def problems() -> Iterator[str]:
    """A sentence for each bar that is not kept."""
    for path, lines in module_lines().items():
        if lines > MAX_LINES:
            yield f"{path}: {lines} lines, at most {MAX_LINES}"
    for path, modules in directory_modules().items():
        if modules > MAX_MODULES:
            yield f"{path}: {modules} modules, at most {MAX_MODULES}"
    for package, names in package_exports().items():
        if len(names) > MAX_EXPORTS:
            yield f"{package}: {len(names)} exports, at most {MAX_EXPORTS}"
        if share_unused(package) >= MAX_UNUSED:
            unused = ", ".join(unused_exports()[package])
            yield f"{package}: {unused} used by no other package, under {MAX_UNUSED:.0%} of the exports allowed"
    for path, names in imports_past_exports().items():
        yield f"{path}: imports {', '.join(names)} past what their packages export"


def module_lines() -> dict[str, int]:
    """Module -> its lines, but for what is long by nature."""
    found = {path.relative_to(SOURCE).as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}
    return {name: len(path.read_text().splitlines()) for name, path in found.items() if name not in LONG_BY_NATURE}


def directory_modules() -> dict[str, int]:
    """Directory -> modules right in it, its `__init__` not counted."""
    folders = [folder.parent for folder in sorted(SOURCE.rglob("__init__.py"))]
    return {
        folder.relative_to(SOURCE.parent).as_posix(): sum(path.stem != "__init__" for path in folder.glob("*.py"))
        for folder in folders
    }


def comment_density() -> dict[str, float]:
    """Lines of code, lines that are or end in a comment, and these a hundred lines of code."""
    code, comments = 0, 0
    for path in SOURCE.rglob("*.py"):
        with tokenize.open(path) as file:
            tokens = list(tokenize.generate_tokens(file.readline))
        layout = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.COMMENT)
        held = {line for one in tokens if one.type not in layout for line in range(one.start[0], one.end[0] + 1)}
        code += len(held - _docstring_lines(ast.parse(path.read_text())))
        comments += sum(one.type == tokenize.COMMENT for one in tokens)
    return {"code_lines": code, "comment_lines": comments, "a_hundred_lines": round(100 * comments / code, 2)}


def _docstring_lines(tree: ast.AST) -> set[int]:
    """Also of strings below an attribute, which describe it."""
    texts = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return {line for node in texts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def package_exports() -> dict[str, tuple[str, ...]]:
    """Package, without 'd3s2.' -> the names in its stub."""
    return {
        ".".join(path.parent.relative_to(SOURCE).parts): tuple(
            alias.asname or alias.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        )
        for path in sorted(SOURCE.rglob("__init__.pyi"))
    }


def unused_exports() -> dict[str, list[str]]:
    """Package -> its exports that are used nowhere outside it."""
    used = {(package, name) for _, package, name in _uses()}
    return {
        package: [name for name in names if (package, name) not in used] for package, names in package_exports().items()
    }


def share_unused(package: str) -> float:
    """Of a package's exports, 0..1."""
    return len(unused_exports()[package]) / max(1, len(package_exports()[package]))


def imports_past_exports() -> dict[str, list[str]]:
    """File -> what it imports from another package that the package does not export."""
    exports = package_exports()
    found: dict[str, list[str]] = {}
    for path, place, name in sorted(_uses()):
        if place.split(".")[0] in exports and name not in exports.get(place, ()):
            found.setdefault(path, []).append(f"{place}.{name}")
    return found


@cache
def _uses() -> frozenset[tuple[str, str, str]]:
    """(file, package or module, name) of what is imported from another package than the file's own."""
    found = set()
    for path in [*SOURCE.rglob("*.py"), *(ROOT / "examples").glob("*.py")]:
        own = path.relative_to(SOURCE).parts[0] if SOURCE in path.parents else None
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("d3s2."):
                place = (node.module or "").removeprefix("d3s2.")
                if place.split(".")[0] != own:
                    found |= {(path.relative_to(ROOT).as_posix(), place, alias.name) for alias in node.names}
    return frozenset(found)


if __name__ == "__main__":
    main()
