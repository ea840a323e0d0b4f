"""The page in a real browser: no error, no request, filters, keys, sorting, dark, small and printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from headless_browser import Browser, find_chromium
from mark_shape_cases import shaped
from report_cases import EVIL, KINDS, QUOTED, classified, detected

from detkit.reporting import Page, PageOptions, page_html
from detkit.reporting.sections.run_sections import facts_section, recipe_section, training_section
from detkit.tasks import Classification, Detection

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")

NAMES = "[...document.querySelectorAll('.card > button')].map(one => one.firstChild.textContent)"


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """The addresses of a page of detections and of one of classes."""
    folder = tmp_path_factory.mktemp("pages")
    rows = [f"{step // 5},{step},{2 / (step + 1)},,0.1" for step in range(10)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,train/loss,val/AP,lr", *rows, "1,9,,0.25,", ""]))
    run = [training_section(folder / "metrics.csv"), recipe_section(f"model: {EVIL}\n")]
    run.append(facts_section("environment", "Environment", {EVIL: QUOTED}))
    sections = {"detections": Detection().report(detected()), "classes": Classification().report(classified())}
    for name, own in sections.items():
        (folder / f"{name}.html").write_text(page_html(Page(EVIL, QUOTED, [*own, *run])), encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in sections}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def opened(browser, pages):
    """Opens a page; gives the browser."""

    def open_page(name: str = "detections", fragment: str = "") -> Browser:
        browser.show()
        browser.open(pages[name] + fragment)
        browser.settle()
        return browser

    return open_page


def set_input(browser: Browser, selector: str, value: str) -> None:
    set_value = f"if (one.type === 'checkbox') one.checked = {value!r} === 'on'; else one.value = {value!r};"
    tell = "one.dispatchEvent(new Event('input', {bubbles: true}))"
    browser.evaluate(f"(() => {{ const one = document.querySelector({selector!r}); {set_value} {tell} }})()")
    browser.settle()


@pytest.mark.parametrize("name", ["detections", "classes"])
def test_it_loads_without_an_error_or_a_request(opened, name):
    browser = opened(name)
    assert browser.complaints() == []
    assert browser.requests() == []
    assert browser.evaluate("window.evil === undefined")
    assert browser.evaluate("document.querySelector('h1').textContent") == EVIL
    assert browser.evaluate("document.querySelectorAll('.card').length") > 0
    assert browser.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")


def test_what_the_checks_look_for_is_seen(browser, tmp_path):
    """A page that does all that a report must not do."""
    (tmp_path / "bad.html").write_text(
        "<img src='http://example.invalid/a.png'><script>console.error('no'); missing()</script>"
    )
    browser.open((tmp_path / "bad.html").as_uri())
    browser.settle()
    assert browser.requests() == ["http://example.invalid/a.png"]
    assert len(browser.complaints()) >= 2


def test_the_policy_stops_a_script_that_was_not_escaped(browser, pages, tmp_path):
    path = Path(pages["detections"].removeprefix("file://"))
    harmed = path.read_text(encoding="utf-8").replace(
        "<main", "<script>window.evil = 1</script><img src=x onerror='evil = 1'><main"
    )
    (tmp_path / "harmed.html").write_text(harmed, encoding="utf-8")
    browser.open((tmp_path / "harmed.html").as_uri())
    browser.settle()
    assert browser.evaluate("window.evil === undefined")
    assert browser.evaluate("document.querySelectorAll('.card').length") == len(KINDS)


def test_masks_and_keypoints_are_drawn_over_the_image(browser, tmp_path):
    sections = Detection().report(shaped(["bbox", "segm", "keypoints"]))
    (tmp_path / "shaped.html").write_text(page_html(Page("shapes", "", sections)), encoding="utf-8")
    browser.open((tmp_path / "shaped.html").as_uri())
    browser.settle()
    assert browser.complaints() == []
    frame = "document.querySelector('.card .frame')"
    counts = [f"{frame}.querySelectorAll('.shape {kind}').length" for kind in (".mask", ".lines", ".dots")]
    assert [browser.evaluate(one) for one in counts] == [2, 1, 2]
    box = "(one => (({left, top, width, height}) => [left, top, width, height])(one.getBoundingClientRect()))"
    image, mask = (browser.evaluate(f"{box}({frame}.querySelector('{one}'))") for one in ("img", ".shape .mask"))
    # Of the images of 100 pixels, objects are drawn the last first: the corner, then the ring.
    rings = browser.evaluate(f"{box}([...{frame}.querySelectorAll('.shape .mask')].at(-1))")
    assert rings[2] / image[2] == pytest.approx(0.5, abs=0.03)
    assert (rings[0] - image[0]) / image[2] == pytest.approx(0.15, abs=0.02)
    assert mask[2] / image[2] == pytest.approx(0.09, abs=0.03)
    fill = f"getComputedStyle({frame}.querySelector('.shape .mask')).fill"
    border = f"getComputedStyle([...{frame}.querySelectorAll('.box')].at(-1)).borderTopColor"
    assert browser.evaluate(fill) == browser.evaluate(border)


class TestFilters:
    @pytest.mark.parametrize("kind", [kind for kind, *_ in KINDS if kind != "correct"])
    def test_by_kind(self, opened, kind):
        browser = opened(fragment=f"#worst-images?kind={kind}")
        # In the third image nothing detects the object, which is missed too.
        expected = {
            str(row + 1) for row, (own, *_) in enumerate(KINDS) if own == kind or (kind, own) == ("missed", "both")
        }
        assert set(browser.evaluate(NAMES)) == expected
        assert "match the filters" in browser.evaluate("document.querySelector('.browser .status').textContent")

    def test_by_class(self, opened):
        browser = opened()
        set_input(browser, "[name=class]", "2")
        assert set(browser.evaluate(NAMES)) == {"3", "5", "6", "7"}
        set_input(browser, "[name=class]", "1")
        assert set(browser.evaluate(NAMES)) == {"1", "4"}
        options = browser.evaluate("[...document.querySelectorAll('[name=class] option')].map(one => one.textContent)")
        assert options == ["any", EVIL, QUOTED, "star"]

    def test_by_score(self, opened):
        browser = opened(fragment="#worst-images?kind=background")
        assert browser.evaluate(NAMES) == ["5"]
        set_input(browser, "[name=score]", "0.55")
        assert browser.evaluate(NAMES) == []
        assert browser.evaluate("document.querySelector('.browser .status').textContent").startswith("0 of 7")

    def test_an_object_is_missed_where_its_detection_scores_too_low(self, opened):
        browser = opened(fragment="#worst-images?kind=missed&score=0.93")
        assert set(browser.evaluate(NAMES)) == {"1", "2", "3", "4", "5", "6"}

    def test_are_in_the_address_and_reset(self, opened):
        browser = opened()
        set_input(browser, "[name=kind][value='6']", "on")
        set_input(browser, "[name=class]", "0")
        assert browser.evaluate("decodeURIComponent(location.hash)").startswith("#worst-images?kind=missed&class=")
        assert browser.evaluate(NAMES) == ["3"]
        browser.evaluate("document.querySelector('.filters [type=reset]').click()")
        browser.settle()
        assert len(browser.evaluate(NAMES)) == len(KINDS)

    def test_by_kind_of_classes(self, opened):
        assert opened("classes", "#classification-worst-images?kind=confused").evaluate(NAMES) == ["2"]
        assert set(opened("classes").evaluate(NAMES)) == {"1", "2", "3", "4"}

    def test_order_by_name(self, opened):
        assert opened(fragment="#worst-images?order=name").evaluate(NAMES) == [
            str(row + 1) for row in range(len(KINDS))
        ]


class TestKeys:
    def test_an_image_opens_turns_and_closes(self, opened):
        browser = opened()
        browser.evaluate("document.querySelector('.card > button').focus()")
        browser.press("Enter")
        title = "document.querySelector('dialog strong').textContent"
        assert "(1 of 7)" in browser.evaluate(title)
        browser.press("ArrowRight")
        assert "(2 of 7)" in browser.evaluate(title)
        browser.press("ArrowLeft")
        assert "(1 of 7)" in browser.evaluate(title)
        browser.press("Escape")
        assert browser.evaluate("document.querySelector('dialog').open") is False

    def test_all_images_have_texts(self, opened):
        texts = opened().evaluate("[...document.images].map(one => one.alt)")
        assert len(texts) == 2 * len(KINDS)
        assert all("ground truth" in text or "detections" in text for text in texts)
        assert any("1 star missed" in text for text in texts)

    def test_a_chart_is_read(self, opened):
        browser = opened()
        browser.evaluate("document.querySelector('#training svg').focus()")
        browser.press("End")
        assert "step 9" in browser.evaluate("document.querySelector('#training .reading').textContent")
        assert browser.complaints() == []


def test_the_pointer_reads_a_chart(opened):
    browser = opened()
    outline = browser.evaluate(
        "(() => { const svg = document.querySelector('#training svg'); svg.scrollIntoView({behavior: 'instant'}); "
        "const one = svg.getBoundingClientRect(); return [one.left, one.top, one.width, one.height] })()"
    )
    browser.move_to(outline[0] + outline[2] * 0.1, outline[1] + outline[3] * 0.5)
    assert "train/loss2" in browser.evaluate("document.querySelector('#training .reading').textContent")


def test_a_line_is_switched_off(opened):
    browser = opened()
    browser.evaluate("document.querySelector('#bbox-precision-and-recall .legend input').click()")
    is_off = "document.querySelector('#bbox-precision-and-recall .line').classList.contains('off')"
    assert browser.evaluate(is_off) is True


def test_a_table_is_sorted(opened):
    browser = opened()
    column = "[...document.querySelectorAll('#bbox-classes tbody tr')].map(row => Number(row.cells[1].dataset.order))"
    for expected in (True, False):
        browser.evaluate("document.querySelectorAll('#bbox-classes thead button')[1].click()")
        values = browser.evaluate(column)
        assert values == sorted(values, reverse=expected)
    assert browser.evaluate("document.querySelectorAll('#bbox-classes thead th')[1].ariaSort") == "ascending"


@pytest.mark.parametrize(("width", "is_dark"), [(1400, False), (1400, True), (420, False)])
def test_it_fits_and_its_texts_have_contrast(opened, tmp_path, width, is_dark):
    browser = opened()
    browser.show((width, 900), is_dark)
    browser.settle()
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate(CONTRASTS) == []
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_it_prints_without_its_controls(opened):
    browser = opened()
    assert browser.pdf().startswith(b"%PDF")
    browser.show(media="print")
    visible = "one => [one.className, one.checkVisibility()]"
    parts = f"[...document.querySelectorAll('nav, .filters, .card, table.confusion')].map({visible})"
    assert dict(browser.evaluate(parts)) == {"": False, "filters": False, "card": True, "confusion": True}


def test_a_thousand_images_are_a_page_of_few(tmp_path, browser):
    sections = Detection().report(detected(PageOptions(bootstrap=0), copies=143))
    html = page_html(Page("many", "images", sections))
    assert len(html) < 2_000_000
    (tmp_path / "many.html").write_text(html, encoding="utf-8")
    browser.open((tmp_path / "many.html").as_uri())
    browser.settle()
    assert len(browser.evaluate(NAMES)) == 48
    assert "48 of 1001 images are shown" in browser.evaluate("document.querySelector('#worst-images').textContent")


# Texts of less than 4.5 to 1 against what is behind them (WCAG 2.1, 1.4.3), by their words.
CONTRASTS = """
(() => {
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const over = (front, back) => {
    const alpha = front.length > 3 ? front[3] : 1;
    return [0, 1, 2].map((k) => alpha * front[k] + (1 - alpha) * back[k]);
  };
  const light = (color) => color.map((value) => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, value, k) => sum + [0.2126, 0.7152, 0.0722][k] * value, 0);
  const behind = (node) => {
    const layers = [];
    for (let one = node; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255]);
  };
  const low = new Set();
  const texts = "h1, h2, p, a, li, th, td, caption, label, figcaption, small, text, code, .box.named span";
  for (const node of document.querySelectorAll(texts)) {
    if (!node.textContent.trim() || !node.checkVisibility() || node.classList.contains("skip")) continue;
    const style = getComputedStyle(node);
    const back = behind(node);
    const front = over(parse(node.tagName === "text" ? style.fill : style.color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) low.add(`${node.tagName} ${node.textContent.trim().slice(0, 30)} ${contrast.toFixed(2)}`);
  }
  return [...low];
})()
"""
