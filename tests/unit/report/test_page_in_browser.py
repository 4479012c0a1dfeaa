"""The page as a reader uses it: in Chromium, with pointer and keyboard, offline, at three widths."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.judgements import Judgement, Judgements, Neighbour
from d3s2.report.figures import ClassFrequencies
from d3s2.report.gallery import Gallery, GalleryRow
from d3s2.report.items import PackedItems, PageItem, pack
from d3s2.report.page import CostRow, ReportContent, render
from d3s2.results.records import Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
try:
    from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
except ImportError:
    pytest.skip("needs playwright (the extra dev has it)", allow_module_level=True)
if CHROMIUM is None:
    pytest.skip("needs Chromium (Debian: apt install chromium)", allow_module_level=True)

EVIL = "</script><img src=x onerror=alert(1)>"
SCENES = Scenes("val", 30)
SPACE = LabelSpace("evil", (*SCENES.space.names[:-1], EVIL), palette=SCENES.space.palette)
SKY, ROAD, CAR = (SPACE.names.index(name) for name in ("sky", "road", "car"))
CHOSEN = ("car", EVIL, None)
BRIGHTNESS = 0.5
WIDTHS = (390, 1280, 1920)
WAIT_MS = 60_000  # on a busy machine; what fails waits so long, what passes does not


def item(position: int, scenes: Scenes = SCENES) -> PageItem:
    """A view of `scenes`; the later it is, the more of its sky the teacher takes for road."""
    item_id = scenes.ids[position]
    mask, image = scenes.mask(item_id), scenes.image(item_id)
    opinion = mask.copy()
    rows = 1 + position * mask.shape[0] // (3 * len(scenes.ids))
    opinion[:rows][mask[:rows] == SKY] = ROAD
    dark = (image * BRIGHTNESS).astype(np.uint8)
    return PageItem(
        item_id=f"item-{position:03d}",
        source_id=item_id,
        pictures=GalleryRow(mask, image, dark, image[:, ::-1].copy(), opinion),
        chosen_for=CHOSEN[position % 3],
        energies_before={"segmentation": 2.0},
        energies={"segmentation": float(position * 7 % 30), "own_energy:edges": -1.0 * position},
        nearest_id=item_id,
        distance=float(position * 11 % 30),
        ratio=1.0,
    )


@pytest.fixture(scope="module")
def packed() -> PackedItems:
    return pack(30, item, SPACE)


@pytest.fixture(scope="module")
def content(packed: PackedItems, results: Results) -> ReportContent:
    judged = Judgement("distilled", 2, 0.8, 0.5, 0.0, 0.9, 0.25, 1.75, 0.5, (Neighbour("a", "a", "b", 12.0, 1.5),))
    rows = (item(0).pictures, item(29).pictures)
    shares = {"all": (0.9, 0.5, 0.1, 0.01), "distilled": (1.0, 0.6, 0.4, 0.3)}
    return ReportContent(
        title="scenes, distilled to 30 images",
        asked={"Budget": "30 masks"},
        results=replace(results, class_names=(EVIL, *results.class_names[1:])),
        frequencies=ClassFrequencies(results.class_names, shares),
        gallery=Gallery(rows, SPACE),
        items=packed,
        judgements=Judgements("0" * 64, "independent", "down3", 2000, 27.0, (judged,)),
        neighbours=Gallery(rows[:1], SPACE),
        cost=(CostRow("select", 0.5, 0.2),),
        provenance={"Set": "0" * 64},
        folder=f"runs/{'long' * 40}",
    )


@pytest.fixture(scope="module")
def file(content: ReportContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that containers and root do not have; the page is our own
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page; afterwards fails where it said anything on the console, or asked for anything."""
    contexts: list[BrowserContext] = []
    told: list[str] = []

    def open_page(path: Path = file, width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: told.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on("dialog", lambda dialog: told.append(f"dialog: {dialog.message}") or dialog.dismiss())
        own = path.as_uri()
        page.on(
            "request",
            lambda asked: None if asked.url == own or asked.url.startswith("data:") else told.append(asked.url),
        )
        page.goto(own)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


def shown(page: Page) -> list[str]:
    """Ids of the listed items, in their order."""
    return page.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.dataset.item)")


def every(page: Page) -> list[str]:
    """The same after all were asked for."""
    while page.locator("#more").is_visible():
        page.locator("#more").click()
    return shown(page)


def ids(packed: PackedItems, key: Callable[[Any], Any]) -> list[str]:
    return [record.item_id for record in sorted(packed.records, key=key)]


def test_the_worst_item_is_first(opened: Callable[..., Page], packed: PackedItems) -> None:
    page = opened()
    assert shown(page) == ids(packed, lambda one: -one.disagreement)[:24]
    expect(page.locator("#status")).to_have_text("30 of 30 items")
    assert len(every(page)) == 30
    assert page.evaluate("document.activeElement.dataset.item") == ids(packed, lambda one: -one.disagreement)[24]


@pytest.mark.parametrize(
    ("label", "key"),
    [
        ("energy: segmentation", lambda one: -one.energies["segmentation"]),
        ("energy: own_energy:edges", lambda one: -one.energies["own_energy:edges"]),
        ("distance to the nearest real image", lambda one: one.distance),
        ("class chosen for", lambda one: (one.chosen_for is None, one.chosen_for == "car", one.item_id)),
        ("order of choice", lambda one: one.item_id),
    ],
)
def test_items_are_sorted(opened: Callable[..., Page], packed: PackedItems, label: str, key: Any) -> None:
    page = opened()
    page.locator("#sort").select_option(label=label)
    expected = ids(packed, key)
    assert every(page) == expected
    page.locator("#direction").click()
    turned = every(page)
    assert sorted(turned) == sorted(expected)
    if label != "class chosen for":
        assert turned == expected[::-1]
    else:  # ties keep the order of choice, and what has no class is last either way
        assert turned == [*expected[10:20], *expected[:10], *expected[20:]]


def test_chips_leave_the_items_that_hold_every_class(opened: Callable[..., Page], packed: PackedItems) -> None:
    page = opened()
    page.locator("#sort").select_option(label="order of choice")
    for index in (ROAD, CAR):
        page.locator(f'#chips [data-class="{index}"]').click()
    holding = [one.item_id for one in packed.records if {ROAD, CAR} <= {mask for mask, _, _ in one.pairs}]
    assert 0 < len(holding) < 30
    assert every(page) == holding
    expect(page.locator("#status")).to_have_text(f"{len(holding)} of 30 items · holds road · holds car")
    expect(page.locator('#chips [aria-pressed="true"]')).to_have_count(2)
    page.locator("#clear").click()
    expect(page.locator("#status")).to_have_text("30 of 30 items")


def test_the_matrix_says_what_is_misread_and_filters(opened: Callable[..., Page], packed: PackedItems) -> None:
    page = opened()
    cell = page.locator(f'#matrix [data-pair="{SKY},{ROAD}"]')
    seen = [pixels for one in packed.records for mask, read, pixels in one.pairs if (mask, read) == (SKY, ROAD)]
    of_sky = [pixels for one in packed.records for mask, _, pixels in one.pairs if mask == SKY]
    assert cell.inner_text() == str(round(100 * sum(seen) / sum(of_sky)))
    assert f"in {len(seen)} items" in (cell.get_attribute("title") or "")
    cell.click()
    assert len(every(page)) == len(seen)
    expect(page.locator("#status")).to_contain_text("sky read as road")
    expect(cell).to_have_attribute("aria-selected", "true")
    cell.click()
    expect(page.locator("#status")).to_have_text("30 of 30 items")


def test_a_click_opens_an_item_and_the_slider_fades_between_its_pictures(
    opened: Callable[..., Page], packed: PackedItems
) -> None:
    page = opened()
    page.locator(".tile").first.click()
    expect(page.locator("#viewer")).to_be_visible()
    assert page.locator("#viewer-title").inner_text() == ids(packed, lambda one: -one.disagreement)[0]
    assert page.locator("#stops button").all_inner_texts() == ["mask", "real", "unguided", "guided", "teacher"]
    assert visible(page) == ["guided"]
    assert page.locator("#stack .marks").is_visible()
    page.locator("#slider").evaluate("slider => { slider.value = 1.5; slider.dispatchEvent(new Event('input')) }")
    assert visible(page) == ["real", "unguided"]
    assert page.locator("#stack img").nth(2).evaluate("image => +image.style.opacity") == pytest.approx(0.5)
    page.locator("#stops button").nth(4).click()
    assert visible(page) == ["teacher"]
    page.locator("#marked").click()
    assert not page.locator("#stack .marks").is_visible()
    assert "own_energy:edges" in page.locator("#facts").inner_text()
    page.locator(".misreadings button").first.click()
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("sky read as road")


def visible(page: Page) -> list[str]:
    """Captions of the pictures that are shown large, marks left out."""
    return page.locator("#stack img:not(.marks):not([hidden])").evaluate_all("images => images.map(one => one.alt)")


def test_the_pictures_are_those_of_the_item(opened: Callable[..., Page], packed: PackedItems) -> None:
    page = opened()
    page.locator("#sort").select_option(label="order of choice")
    page.locator(".tile").first.click()
    sources = page.locator("#stack img").evaluate_all("images => images.map(one => one.src)")
    assert sources == list(packed.records[0].pictures.values())
    loaded = page.locator("#stack img").evaluate_all("images => images.map(one => one.naturalWidth)")
    assert loaded == [96] * 6


def test_everything_is_reached_by_keyboard(opened: Callable[..., Page], packed: PackedItems) -> None:
    page = opened()
    worst = ids(packed, lambda one: -one.disagreement)
    press, focused = page.keyboard.press, lambda: page.evaluate("document.activeElement.dataset")
    page.locator("#marks").focus()
    press("Tab")
    assert focused()["class"] == "0"  # chips: one stop of Tab, arrows inside
    press("ArrowRight")
    press("Space")
    expect(page.locator('#chips [aria-pressed="true"]')).to_have_count(1)
    press("Space")
    for _ in range(10):
        press("Tab")
        if "pair" in focused():
            break
    press("End")
    press("Home")
    press("ArrowRight")
    first, second = focused()["pair"].split(",")
    press("Enter")
    expect(page.locator("#status")).to_contain_text(f"{SPACE.names[int(first)]} read as {SPACE.names[int(second)]}")
    press("Enter")
    for _ in range(10):
        press("Tab")
        if "item" in focused():
            break
    assert focused()["item"] == worst[0]
    press("ArrowRight")
    assert focused()["item"] == worst[1]
    press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    press("ArrowLeft")
    assert visible(page) == ["unguided"]
    press("ArrowDown")
    assert page.locator("#viewer-title").inner_text() == worst[2]
    assert visible(page) == ["unguided"]
    press("m")
    assert not page.locator("#stack .marks").is_visible()
    press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(f"[data-item='{worst[2]}']")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(opened: Callable[..., Page], width: int, scheme: str) -> None:
    page = opened(width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("#grid", "#chips", ".toolbar", "#matrix-note"):
        box = page.locator(selector).bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    page.locator(".tile").first.click()
    assert page.evaluate("viewer.item !== null && byId('viewer').scrollWidth <= byId('viewer').clientWidth")
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (luminance(paper) > luminance(ink)) == (scheme == "light")


def luminance(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3]))


def test_names_are_text_and_never_markup(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.locator("#chips").get_by_text(EVIL).is_visible() == any(
        len(SPACE.names) - 1 in np.unique(item(position).pictures.mask) for position in range(30)
    )
    page.locator("#sort").select_option(label="class chosen for")
    assert page.locator(".tile").first.inner_text().count(EVIL) == 2
    assert page.locator('img[src="x"]').count() == 0


def test_without_scripts_the_rest_can_be_read(opened: Callable[..., Page]) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator("#explorer").is_hidden()
    assert page.locator("#viewer").is_hidden()
    assert page.locator("noscript").is_visible()
    for anchor in ("results", "gallery", "judges", "frequencies", "cost", "provenance"):
        assert page.locator(f"#{anchor}").is_visible()
    page.locator("#items summary").last.click()
    assert page.locator("#items table").last.get_by_text("sky").first.is_visible()


@pytest.mark.slow
def test_two_hundred_items_of_512_px_stay_below_ten_megabytes(
    opened: Callable[..., Page], content: ReportContent, tmp_path: Path
) -> None:
    scenes = Scenes("val", 8, (512, 512))
    noise = np.random.default_rng(0).normal(0, 6, (512, 512, 3))
    items = [item(position, scenes) for position in range(8)]
    rough = [replace(one, pictures=with_noise(one.pictures, noise)) for one in items]
    named = pack(200, lambda at: replace(rough[at % 8], item_id=f"item-{at:03d}"), SPACE)
    rows = tuple(one.pictures for one in rough[:6])
    path = tmp_path / "large.html"
    path.write_text(
        render(replace(content, items=named, gallery=Gallery(rows, SPACE), neighbours=Gallery(rows, SPACE)))
    )
    assert path.stat().st_size < 10_000_000
    page = opened(path)
    expect(page.locator("#status")).to_have_text("200 of 200 items")
    assert page.locator(".tile img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") >= 192


def with_noise(row: GalleryRow, noise: np.ndarray) -> GalleryRow:
    images = {name: getattr(row, name) for name in ("real", "unguided", "guided")}
    rough = {name: (image + noise).clip(0, 255).astype(np.uint8) for name, image in images.items()}
    return replace(row, **rough)
