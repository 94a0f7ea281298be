"""The report in a browser: it opens, sorts, and scrolls through slices."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation.report import write_report
from miscnn.evaluation.score_table import ScoreRow, ScoreTable

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("there is no chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(scored_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(scored_once, tmp_path_factory.mktemp("report") / "report.html")


class Visit:
    """A page, and what it said and asked for that it should not."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**options)
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append("dialog"), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(file.as_uri())

    def done(self, file: Path) -> None:
        self.page.close()
        # that the canvas is read so often is the doing of these tests
        assert [text for text in self.complaints if "willReadFrequently" not in text] == []
        loaded = [url for url in self.requests if not url.startswith("data:")]
        assert loaded == [file.as_uri()]

    def column(self, name: str) -> list[str]:
        """The values of a column of the table of subjects, from above."""
        return self.page.evaluate(
            """(name) => {
              const table = document.querySelector("#subjects table");
              const heads = [...table.tHead.rows[0].cells].map((c) => c.textContent.trim());
              const column = heads.indexOf(name);
              return [...table.tBodies[0].rows].filter((r) => !r.hidden)
                .map((r) => r.cells[column].dataset.value || r.cells[column].textContent);
            }""",
            name,
        )

    def pixel(self, x: float = 0.9, y: float = 0.9) -> list[int]:
        """A pixel of the canvas, at shares of its width and height; by default background."""
        return self.page.evaluate(
            """([x, y]) => {
              const canvas = document.querySelector(".mv-canvas");
              const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
              return [...canvas.getContext("2d").getImageData(at[0], at[1], 1, 1).data].slice(0, 3);
            }""",
            [x, y],
        )

    def open(self, name: str) -> Any:
        self.page.get_by_role("button", name=name, exact=True).last.click()
        self.page.wait_for_selector("dialog[open] .mv-canvas")
        self.page.wait_for_timeout(100)  # the size is set in the next frame
        return self.page.locator(".mv-canvas")

    def window(self, width: float, level: float) -> None:
        self.page.get_by_label("Width").fill(str(width))
        self.page.get_by_label("Width").press("Tab")
        self.page.get_by_label("Level").fill(str(level))
        self.page.get_by_label("Level").press("Tab")


def test_columns_are_sorted_by_click_and_by_key(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    head = visit.page.locator("#subjects th").filter(has_text="hd95")
    assert head.get_attribute("aria-sort") == "none"
    head.get_by_role("button").click()
    ascending = visit.column("hd95 mm")
    assert head.get_attribute("aria-sort") == "ascending"
    finite = [float(v) for v in ascending if v != "inf"]
    assert finite == sorted(finite)
    assert len(set(finite)) > 1
    assert ascending[-1] == "inf"
    head.get_by_role("button").press("Enter")
    descending = visit.column("hd95 mm")
    assert head.get_attribute("aria-sort") == "descending"
    assert descending == [*(repr(v) for v in sorted(finite, reverse=True)), "inf"]
    visit.page.get_by_label("Find").fill("case_b")
    assert visit.column("class") == ["liver", "<b>tumour</b>"] * 1
    visit.page.get_by_label("Class").select_option("2")
    assert visit.column("class") == ["<b>tumour</b>"]
    visit.done(file)


def test_slices_are_scrolled_by_wheel_and_keys(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    canvas = visit.open("case_b")
    visit.window(200, 100)  # slice k is 20 k + 10: grey is 255 (20 k + 10) / 200

    def grey(k: int) -> list[int]:
        return [round(255 * (20 * k + 10) / 200)] * 3

    canvas.focus()
    canvas.press("Home")
    assert visit.pixel() == pytest.approx(grey(0), abs=1)
    canvas.press("ArrowUp")
    canvas.press("ArrowRight")
    assert visit.pixel() == pytest.approx(grey(2), abs=1)
    canvas.press("ArrowDown")
    assert visit.pixel() == pytest.approx(grey(1), abs=1)
    canvas.press("PageUp")
    assert visit.pixel() == pytest.approx(grey(9), abs=1)
    canvas.press("PageDown")
    assert visit.pixel() == pytest.approx(grey(0), abs=1)
    canvas.hover()
    for k in (1, 2, 3):
        visit.page.mouse.wheel(0, 100)
        visit.page.wait_for_function(f"document.querySelector('.mv-slider').value === '{k}'")
        assert visit.pixel() == pytest.approx(grey(k), abs=1)
    visit.page.mouse.wheel(0, -100)
    visit.page.wait_for_function("document.querySelector('.mv-slider').value === '2'")
    assert visit.page.locator(".mv-where").inner_text() == "slice 3 of 10"
    assert "slice 3 of 10" in str(canvas.get_attribute("aria-label"))
    visit.page.get_by_label("Plane").select_option(label="sagittal")
    visit.page.locator(".mv-canvas").focus()
    visit.page.locator(".mv-canvas").press("Home")  # the patient's right: x = 19
    assert visit.page.locator(".mv-where").inner_text() == "slice 20 of 20"
    visit.page.get_by_label("Plane").select_option(label="axial")
    assert "slice" in visit.page.locator(".mv-where").inner_text()
    slider = visit.page.get_by_label("Slice", exact=True)
    slider.focus()
    slider.press("End")
    assert visit.pixel() == pytest.approx(grey(9), abs=1)
    visit.done(file)


def test_window_overlay_and_place_under_the_pointer(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    canvas = visit.open("case_a")
    visit.window(200, 100)
    canvas.focus()
    canvas.press("Home")
    canvas.press("ArrowUp")
    canvas.press("ArrowUp")
    # x runs to the left: voxel 8 of 20 lies at 1 - 8.5 / 20; y to the top
    inside = (1 - 6.5 / 20, 1 - 8.5 / 24)
    assert visit.pixel() == pytest.approx([64] * 3, abs=1)
    shown = visit.pixel(*inside)
    assert shown == pytest.approx([0.6 * 64 + 0.4 * c for c in (0xF0, 0xA0, 0)], abs=2)
    visit.page.get_by_label("Prediction (filled)").uncheck()
    assert visit.pixel(*inside) == pytest.approx([64] * 3, abs=1)
    canvas.press("p")
    assert visit.pixel(*inside) == shown
    edge = (1 - 4.06 / 20, 1 - 8.5 / 24)  # the truth begins at x = 4
    outlined = visit.pixel(*edge)
    canvas.press("t")
    assert visit.pixel(*edge) != outlined
    canvas.press("e")  # prediction and truth agree
    assert visit.pixel(*inside) == pytest.approx([64] * 3, abs=1)
    visit.window(100, 50)
    assert visit.pixel() == pytest.approx([128] * 3, abs=1)
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] * inside[0], box["y"] + box["height"] * inside[1])
    visit.page.mouse.move(*middle)
    told = visit.page.locator(".mv-under").inner_text()
    assert told == "R 6.0, A 8.0, S 6.0 mm · 50 · truth: liver · prediction: liver"
    before = visit.page.get_by_label("Level").input_value()
    visit.page.mouse.down(button="right")
    visit.page.mouse.move(middle[0] + 40, middle[1] + 30, steps=3)
    visit.page.mouse.up(button="right")
    assert float(visit.page.get_by_label("Level").input_value()) > float(before)
    assert float(visit.page.get_by_label("Width").input_value()) > 100
    assert visit.pixel() != pytest.approx([128] * 3, abs=1)
    canvas.press("r")
    assert visit.page.get_by_label("Preset").input_value() == "percentiles"
    visit.page.get_by_label("Plane").select_option(label="sagittal")
    marks = {w: visit.page.locator(f".mv-{w}").text_content() for w in ("left", "top", "bottom")}
    assert marks == {"left": "A", "top": "S", "bottom": "I"}
    visit.done(file)


def test_names_are_text_and_errors_have_colours(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    canvas = visit.open("<script>alert(1)</script>")
    assert visit.page.locator("#subject").inner_text() == "<script>alert(1)</script>"
    assert "<b>tumour</b>" in visit.page.locator(".mv-legend").inner_text()
    visit.page.get_by_label("Errors").check()
    assert "missed" in visit.page.locator(".mv-legend").inner_text()
    visit.page.get_by_label("Truth (outline)").uncheck()
    visit.window(200, 100)
    canvas.focus()
    canvas.press("Home")
    for _ in range(2):
        canvas.press("ArrowUp")
    # the prediction lies two voxels further along x: 4 and 5 are missed, 12 and 13 added
    for x, colour in ((5, (0xFF, 0xE1, 0x1A)), (12, (0xE5, 0x30, 0x4A))):
        found = visit.pixel(1 - (x + 0.5) / 20, 1 - 8.5 / 24)
        assert found == pytest.approx([0.6 * 64 + 0.4 * c for c in colour], abs=2)
    visit.page.get_by_role("button", name="Next subject").click()
    visit.page.wait_for_function("document.querySelector('#subject').textContent === 'case_a'")
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("dialog").is_visible()
    visit.done(file)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_and_light_wide_and_narrow(
    browser: Any, file: Path, tmp_path: Path, scheme: str
) -> None:
    colours = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}
    ground = "getComputedStyle(document.body).backgroundColor"
    for width in (1280, 400):
        visit = Visit(browser, file, color_scheme=scheme, viewport={"width": width, "height": 900})
        assert visit.page.evaluate(ground) == colours[scheme]
        picture = visit.page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
        assert len(picture) > 10_000
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        visit.open("case_a")
        visit.page.screenshot(path=tmp_path / f"{scheme}-{width}-viewer.png")
        visit.page.get_by_role("button", name="Close").click()
        visit.page.locator("#theme").click()
        other = {"light": "dark", "dark": "light"}[scheme]
        assert visit.page.evaluate(ground) == colours[other]
        visit.done(file)


def test_without_previews_the_reason_is_shown(browser: Any, scored_folder: Path) -> None:
    shutil.rmtree(scored_folder / "previews")
    file = write_report(scored_folder)
    visit = Visit(browser, file)
    assert "--data" in visit.page.locator("main").inner_text()
    visit.page.get_by_role("button", name="case_a", exact=True).last.click()
    assert "No slices" in visit.page.locator("#viewer").inner_text()
    visit.done(file)


def test_a_tilted_volume_with_two_channels_and_voxels_without_annotation(
    browser: Any, tmp_path: Path
) -> None:
    turn = np.radians(20.0)
    affine = np.eye(4)
    affine[:3, :3] = [
        [1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)],
    ]  # fmt: skip
    affine[:3, :3] *= (1.0, 1.0, 3.0)
    image = np.full((20, 24, 10, 2), -1000.0, np.float32)
    image[5:15, 5:20, :, 0] = 40.0
    image[..., 1] = 7.0  # constant: there is nothing to spread
    sample = Sample("x", image, 2, 2, Geometry(image.shape[:3], affine), ignore_label=255)
    truth = np.zeros((20, 24, 10), np.uint8)
    truth[:, :, 7:] = 255
    truth[8:12, 8:12, 3] = 1
    sample.add_segmentation(truth)
    sample.add_prediction(np.zeros((20, 24, 10), np.uint8))
    file = sample.show().save(tmp_path / "slices.html")
    visit = Visit(browser, file)
    page = visit.page
    page.wait_for_selector(".mv-canvas")
    page.wait_for_timeout(100)
    assert page.get_by_label("Plane").locator("option").all_inner_texts() == [
        "axial (tilted by 20°)", "coronal (tilted by 20°)", "sagittal",
    ]  # fmt: skip
    # not one that nobody has annotated
    assert page.locator(".mv-where").inner_text() == "slice 4 of 10"
    assert page.get_by_label("Preset").input_value() == "0"
    page.locator(".mv-canvas").hover()
    assert " HU" in page.locator(".mv-under").inner_text()
    page.get_by_label("Channel").select_option("1")
    assert page.get_by_label("Preset").locator("option").all_inner_texts() == [
        "1\N{EN DASH}99.5 %", "all values", "own",
    ]  # fmt: skip
    assert page.get_by_label("Preset").input_value() == "percentiles"
    page.locator(".mv-canvas").hover()
    assert "7 ·" in page.locator(".mv-under").inner_text()
    assert "HU" not in page.locator(".mv-under").inner_text()
    assert visit.pixel() == [0, 0, 0]
    visit.done(file)


def test_by_keys_alone_from_subject_to_subject(browser: Any, file: Path) -> None:
    visit = Visit(browser, file)
    page = visit.page
    start = page.locator("#subjects").get_by_role("button", name="case_a").first
    start.focus()
    start.press("Enter")
    page.wait_for_selector("dialog[open] .mv-canvas")
    page.wait_for_selector(".mv-canvas:focus")
    following = page.get_by_role("button", name="Next subject")
    following.focus()
    for name in ("case_b", "<script>alert(1)</script>"):
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open] .mv-canvas")
        page.wait_for_timeout(100)
        assert page.locator("#subject").inner_text() == name
        assert page.evaluate("document.activeElement.id") == "next"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "case_a"
    following_by_mouse = visit.open("case_a")
    following.click()
    page.wait_for_selector(".mv-canvas:focus")
    assert following_by_mouse.count() == 1
    visit.done(file)


def test_two_viewers_in_one_notebook_do_not_meet(browser: Any, tmp_path: Path) -> None:
    parts = []
    for value in (100.0, 300.0):
        image = np.full((12, 10, 6), value, np.float32)
        image[0] = 0.0
        sample = Sample(
            f'<"{value:g}">', image, 1, 2, Geometry.from_spacing(image.shape, (1, 1, 3))
        )
        parts.append(sample.show()._repr_html_())
    file = tmp_path / "notebook.html"
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8>{''.join(parts)}", encoding="utf-8")
    visit = Visit(browser, file)
    told = []
    for number in (0, 1):
        frame = visit.page.frame_locator("iframe").nth(number)
        frame.locator(".mv-canvas").hover()
        told.append(frame.locator(".mv-under").inner_text().split(" · ")[1])
        assert frame.locator(".mv-where").inner_text() == "slice 3 of 6"
        frame.locator(".mv-canvas").press("Home")
    assert told == ["100", "300"]
    visit.requests = [url for url in visit.requests if url != "about:srcdoc"]
    visit.done(file)


def test_of_many_classes_those_of_the_slice_are_told(browser: Any, tmp_path: Path) -> None:
    image = np.zeros((12, 10, 6), np.float32)
    sample = Sample("x", image, 1, 13, Geometry.from_spacing(image.shape, (1, 1, 3)))
    truth = np.zeros((12, 10, 6), np.uint8)
    for label in range(1, 13):
        truth[label - 1, :, (label - 1) // 2] = label
    sample.add_segmentation(truth)
    visit = Visit(browser, sample.show().save(tmp_path / "slices.html"))
    canvas = visit.page.locator(".mv-canvas")
    canvas.press("Home")
    legend = visit.page.locator(".mv-legend li")
    assert legend.all_inner_texts()[:2] == ["class-1", "class-2"]
    canvas.press("End")
    assert legend.all_inner_texts()[:2] == ["class-11", "class-12"]
    assert "colours repeat" in legend.all_inner_texts()[2]
    visit.done(tmp_path / "slices.html")


def test_long_names_stay_on_a_narrow_screen(browser: Any, tmp_path: Path) -> None:
    name = 'a"</script>\u2028${title}' * 8
    ScoreTable(
        ScoreRow(0, name, label, f"{label}{name}", "dice", 0.5, 3, 1.0) for label in (1, 2)
    ).to_tsv(tmp_path / "scores.tsv")
    (tmp_path / "folds.json").write_text('{"n_folds": 2}')
    file = write_report(tmp_path)
    visit = Visit(browser, file, viewport={"width": 400, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400
    assert "Not complete" in visit.page.locator(".warning").inner_text()
    visit.page.locator("#subjects .open").first.click()
    assert visit.page.locator("#subject").text_content() == name
    assert visit.page.locator("dialog").evaluate("d => d.scrollWidth <= d.clientWidth")
    visit.done(file)
