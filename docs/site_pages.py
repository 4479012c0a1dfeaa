"""Hooks of mkdocs: pages that are made when the site is built, and links from the pages to files outside docs.

The pages are written for whoever reads them in the repository, where `../benchmarks/x.json` leads to the file. The site
has no repository around it: a linked file is copied into it, and what links to a folder becomes plain text.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "d3s2"
COPIED = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}
"""Page of the site -> file at the root of the repository."""

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(((?!\w+:|#)[^)#\s]+)(#[^)]*)?\)")

FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
NESTED = re.compile(r"^ {2,3}(?=- )", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made and the files that pages link to."""
    made = {page: _from_root((ROOT / source).read_text(encoding="utf-8")) for page, source in COPIED.items()}
    made |= {f"api/{name}.md": text for name, text in _reference()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    pages = [*made.values(), *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]
    for path in sorted({path for text in pages for path in _linked(text) if path.is_file()}):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads links to files outside docs to their copies, and indents nested lists as Python-Markdown asks for."""
    if "/" in page.file.src_uri:
        return markdown
    parts = FENCE.split(LINK.sub(_inside, markdown))  # every second one is a fenced block
    return "".join(part if index % 2 else NESTED.sub("    ", part) for index, part in enumerate(parts))


def _from_root(text: str) -> str:
    """A page of the root as if it lay in docs."""
    return LINK.sub(
        lambda link: f"[{link[1]}]({link[2][5:] if link[2].startswith('docs/') else f'../{link[2]}'}{link[3] or ''})",
        text,
    )


def _linked(text: str) -> Iterator[Path]:
    yield from ((ROOT / link[2][3:]) for link in LINK.finditer(text) if link[2].startswith("../"))


def _inside(link: re.Match[str]) -> str:
    """The link as the site has it: pages of the root have another name there, folders are no pages."""
    text, target, anchor = link[1], link[2], link[3] or ""
    if not target.startswith("../"):
        return link[0]
    page = next((page for page, source in COPIED.items() if source == target[3:]), None)
    if page is None and not (ROOT / target[3:]).is_file():
        return text
    return f"[{text}]({page or target[3:]}{anchor})"


def _reference() -> Iterator[tuple[str, str]]:
    """A page for the functions of the package itself, one for each package below it that exports names, and errors."""
    names = ("api.select", "api.distill", "api.evaluate", "api.write_report", "recipes.load_run")
    yield "index", "\n".join([*_head("d3s2"), *(f"::: d3s2.{name}\n" for name in names)])
    errors = "{members_order: source, show_root_heading: false, show_root_toc_entry: false}"
    yield "errors", f"# d3s2.base.errors\n\n::: d3s2.base.errors\n    options: {errors}\n"
    for stub in sorted([*PACKAGE.glob("*/__init__.pyi"), PACKAGE / "data" / "census" / "__init__.pyi"]):
        package = ".".join(["d3s2", *stub.parent.relative_to(PACKAGE).parts])
        tree = ast.parse(stub.read_text(encoding="utf-8"))
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        objects = {alias.name: f"{package}.{node.module}" for node in imports for alias in node.names}
        yield (
            stub.parent.name,
            "\n".join([*_head(package), *(f"::: {home}.{name}\n" for name, home in objects.items())]),
        )


def _head(package: str) -> list[str]:
    options = "{members: false, show_root_heading: false, show_root_toc_entry: false}"
    return [f"# {package}", "", f"::: {package}", f"    options: {options}", ""]
