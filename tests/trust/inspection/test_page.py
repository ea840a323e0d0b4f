"""The page of an inspection in a real browser: images load, nothing is requested, no error is logged."""

from __future__ import annotations

import cv2
import pytest
from headless_browser import Browser, find_chromium
from planted_data import change, inspected, shapes

from detkit.reporting import Page, page_html
from detkit.trust.inspection.page_sections import inspection_sections

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """The page of data with a box outside of its image, a leak and a class that must be escaped."""
    root = shapes(tmp_path_factory.mktemp("page") / "data")

    def spoil(content):
        content["annotations"][0]["bbox"][0] += 150
        content["categories"][0]["name"] = "<script>window.evil = 1</script>"

    def copy(content):
        pixels = cv2.imread(str(sorted((root / "images/train").iterdir())[1]))
        cv2.imwrite(str(root / "images/val/copy.png"), pixels)
        size = {"height": pixels.shape[0], "width": pixels.shape[1]}
        content["images"].append({"id": 900, "file_name": "copy.png", **size})
        content["categories"][0]["name"] = "<script>window.evil = 1</script>"

    change(root, "train", spoil)
    change(root, "val", copy)
    inspection = inspected(root)
    assert {problem.name for problem in inspection.problems} >= {"exact_leaks"}
    path = root / "inspect.html"
    path.write_text(page_html(Page("Inspection", "", inspection_sections(inspection))), encoding="utf-8")
    return path.as_uri()


def test_shows_all_images_and_runs_nothing_else(address, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(address)
        browser.settle()
        assert browser.evaluate("window.evil === undefined")
        images = "[...document.querySelectorAll('img')]"
        browser.evaluate(f"{images}.forEach(one => one.loading = 'eager')")
        browser.settle()
        assert browser.evaluate(f"{images}.length") >= 14
        assert browser.evaluate(f"{images}.every(one => one.complete && one.naturalWidth > 0)")
        assert browser.evaluate("document.querySelectorAll('#duplicates .group img').length") == 2
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert browser.complaints() == []
        assert browser.requests() == []
