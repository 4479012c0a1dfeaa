"""The page is one file that loads nothing, shows what there is and leaves out what is not."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from d3s2.data.known.scenes import Scenes
from d3s2.judgements import Judgement, Judgements, Neighbour
from d3s2.report.figures import ClassFrequencies, EnergyTrace
from d3s2.report.gallery import Gallery, GalleryRow
from d3s2.report.items import PageItem, pack
from d3s2.report.page import CostRow, ReportContent, cost_table, headlines, render
from d3s2.results.records import Results, SetResult

VOID = {"meta", "img", "br", "link", "hr", "input"}
SCRIPTS = ["application/json", ""]
SCENES = Scenes("val", 2)


class Outline(HTMLParser):
    """Collects references, ids and texts, and checks that tags close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.sections: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.references += [value or "" for key, value in attrs if key.split(":")[-1] in ("src", "href", "srcset")]
        if tag == "section":
            self.sections.append(found["id"] or "")
        assert tag not in ("link", "iframe", "object", "base")
        assert not any(key.startswith("on") for key in found)
        if tag == "script":
            assert "src" not in found
            self.scripts.append(found.get("type") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def content(results: Results) -> ReportContent:
    rows = tuple(
        GalleryRow(SCENES.mask(i), SCENES.image(i), SCENES.image(i), SCENES.image(i), SCENES.mask(i), f"item {i}")
        for i in SCENES.ids
    )
    values = np.random.default_rng(0).random((4, 6))
    shares = {"all": (0.9, 0.5, 0.1, 0.01), "random": (1.0, 0.4, 0.0, 0.0), "distilled": (1.0, 0.6, 0.4, 0.3)}
    judged = Judgement("distilled", 2, 0.8, 0.5, 0.0, 0.9, 0.25, 1.75, 0.5, (Neighbour("a", "a", "b", 12.0, 1.5),))
    return ReportContent(
        title="scenes, distilled to 1 %",
        subtitle="20 masks of 2,000.",
        date="22 November 2026",
        asked={"budget": "20 masks", "seed": "0"},
        results=results,
        frequencies=ClassFrequencies(results.class_names, shares),
        gallery=Gallery(rows, SCENES.space),
        items=pack(2, lambda position: PageItem(f"item-{position}", "a", rows[position]), SCENES.space),
        judgements=Judgements("0" * 64, "independent", "down3", 2000, 27.0, (judged,)),
        neighbours=Gallery(rows[:1], SCENES.space),
        energies=(EnergyTrace("segmentation", "distilled", values), EnergyTrace("feature", "distilled", values)),
        cost=(CostRow("select", 0.5, 0.2), CostRow("synthesize", 120.0, 1.5, "24 steps"), CostRow("report", 2.0)),
        provenance={"d3s2": "0.1.0", "config": "sha256 abc"},
        folder="runs/demo",
        notes=("A note.",),
    )


@pytest.fixture(scope="module")
def page(content: ReportContent) -> str:
    return render(content)


def test_the_page_loads_nothing(page: str) -> None:
    outline = Outline(page)
    assert outline.references
    inline = ("data:image/png;base64,", "data:image/webp;base64,", "#")
    assert all(reference.startswith(inline) for reference in outline.references)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org/)", page)
    assert outline.scripts == SCRIPTS


def test_only_the_script_of_the_package_may_run(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy[1].split("; ") == [
        "default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src 'sha256-{digest}'"
    ]  # fmt: skip


def test_a_page_without_items_has_no_script(content: ReportContent) -> None:
    page = render(replace(content, items=None))
    assert Outline(page).scripts == []
    assert "script-src" not in page


def test_links_of_the_page_lead_to_its_parts(page: str) -> None:
    outline = Outline(page)
    links = [reference[1:] for reference in outline.references if reference.startswith("#") and len(reference) < 20]
    assert {"results", "items", "provenance"} <= set(links)


def test_the_whole_page_has_every_section(page: str) -> None:
    outline = Outline(page)
    assert outline.sections == [
        "results", "items", "asked", "gallery", "judges", "frequencies", "energies", "gains-1", "classes-1",
        "cost", "use", "provenance",
    ]  # fmt: skip


def test_what_does_not_exist_is_left_out(content: ReportContent) -> None:
    assert Outline(render(ReportContent("bare"))).sections == []
    unmeasured = (EnergyTrace("feature", "distilled", np.full((2, 3), np.nan)),)
    empty = None if content.results is None else replace(content.results, sets=())
    assert Outline(render(ReportContent("bare", results=empty, energies=unmeasured))).sections == []
    outline = Outline(render(replace(content, results=None)))
    assert "classes-1" not in outline.sections
    assert "notes" in outline.sections
    assert "A note." in outline.texts


def test_the_table_and_the_headlines_say_the_same(page: str, results: Results) -> None:
    assert [headline.number for headline in headlines(results)] == ["×2.00", "46.0 %", "57 %", "20"]
    texts = Outline(page).texts
    for cell in ("23.0 ± 2.6", "46.0 ± 2.0", "2.00", "57 %", "×2.00", "26.7 MiB"):
        assert cell in texts


def test_headlines_need_what_they_compare(results: Results) -> None:
    alone = replace(results, sets=tuple(row for row in results.sets if row.name == "distilled"))
    assert headlines(alone) == []
    assert headlines(replace(results, sets=())) == []


def test_a_failed_student_is_shown_without_figures(content: ReportContent, failed_row: SetResult) -> None:
    assert content.results is not None
    results = replace(content.results, sets=(*content.results.sets, failed_row))
    page = render(replace(content, results=results))
    outline = Outline(page)
    assert "all real with mask2former failed: out of memory." in outline.texts
    assert outline.sections.count("classes-1") == 1
    assert "classes-2" not in outline.sections


def test_text_is_escaped(content: ReportContent, results: Results) -> None:
    evil = "<script>alert(1)</script>"
    named = replace(results, class_names=(evil, *results.class_names[1:]), dataset=evil)
    page = render(replace(content, title=evil, asked={evil: evil}, results=named, folder=evil, notes=(evil,)))
    assert "<script>alert" not in page
    assert Outline(page).scripts == SCRIPTS


def test_the_same_content_gives_the_same_page(content: ReportContent, page: str) -> None:
    assert render(content) == page


def test_cost_is_summed(content: ReportContent) -> None:
    assert cost_table(content.cost).rows == (
        ("select", "0.5 s", "0.2 GiB", ""),
        ("synthesize", "2.0 min", "1.5 GiB", "24 steps"),
        ("report", "2.0 s", "–", ""),
        ("in all", "2.0 min", "1.5 GiB", ""),
    )


@pytest.mark.parametrize("name", [r"$\frac{", "$x^2$", r"\$5$", "$$", "a $b"])
def test_names_with_dollars_are_no_mathematics(content: ReportContent, results: Results, name: str) -> None:
    of_set = f"runs/{name}/a"
    rows = tuple(replace(row, student=name) for row in results.sets)
    rows += tuple(replace(row, name=of_set if row.name == "all" else row.name) for row in results.sets)
    named = replace(results, class_names=(name, *results.class_names[1:]), sets=rows)
    shares = ClassFrequencies(named.class_names, {"all": (0.9, 0.5, 0.1, 0.01), of_set: (1.0, 0.4, 0.0, 0.0)})
    page = render(replace(content, results=named, frequencies=shares))
    texts = [text.strip() for text in Outline(page).texts]
    assert texts.count(name) >= 6  # tables, and each figure of classes and of students
    assert texts.count(of_set) > 3
