"""The upload page in a real browser: chosen and dropped images are answered, drawn and told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import uvicorn
from headless_browser import Browser, find_chromium
from serving_cases import EVIL, encoded, small_model

from detkit.serving import Limits, application

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")

CAPTIONS = "[...document.querySelectorAll('figcaption')].map(one => one.textContent)"


@pytest.fixture(scope="module")
def address():
    """A server in a thread of this process, with room for two requests at a time."""
    config = uvicorn.Config(application(small_model("mask"), Limits(max_waiting=2)), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(60)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Five images and a broken one, with a name that must be escaped."""
    folder = tmp_path_factory.mktemp("images")
    names = [*(f"{number}.png" for number in range(5)), EVIL.replace("/", "") + ".png"]
    paths = [folder / name for name in names]
    for seed, path in enumerate(paths):
        path.write_bytes(encoded(seed, (200, 300)) if seed < 5 else b"no image")
    return paths


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def opened(browser, address):
    browser.open(address)
    browser.wait_until("document.querySelector('h1').textContent === 'MaskRCNN'")
    return browser


def test_describes_the_model_and_asks_nobody_else(opened, address):
    assert opened.complaints() == []
    assert set(opened.requests()) == {f"{address}/health"}
    assert opened.evaluate("document.forms[0].shown.textContent") == "0.50"
    assert opened.evaluate("document.querySelector('summary').textContent") == "3 classes"
    assert EVIL in opened.evaluate("document.getElementById('classes').textContent")


def test_answers_chosen_images(opened, images, tmp_path):
    opened.evaluate("document.forms[0].score.value = 0")
    opened.choose_files("[type=file]", images)
    opened.wait_until("document.querySelectorAll('figure').length === 6 && !document.querySelector('.waiting')")
    captions = opened.evaluate(CAPTIONS)
    assert captions[:5] == [f"{number}.png, 300 x 200 pixels" for number in range(5)]
    assert captions[5].startswith(images[5].name)
    assert "not an image" in captions[5]
    assert opened.evaluate("document.querySelector('[role=status]').textContent") == "5 done, 1 refused"
    assert opened.evaluate("[...document.images].map(one => one.naturalWidth)") == [300] * 5
    assert opened.evaluate("document.querySelector('figure table').rows.length") > 1
    assert opened.evaluate("window.evil === undefined")
    refusals = {"422", "503"}  # of the broken image, and of requests that came again
    assert not [one for one in opened.complaints() if not refusals & set(one.split())]
    opened.screenshot(tmp_path / "page.png")


def test_another_score_draws_all_again(opened, images):
    opened.choose_files("[type=file]", images[:2])
    opened.wait_until("document.images.length === 2")
    counts = "[...document.querySelectorAll('figure summary')].map(one => parseInt(one.textContent))"
    before = opened.evaluate(counts)
    opened.evaluate("document.forms[0].score.value = 0; document.forms[0].score.dispatchEvent(new Event('change'))")
    opened.wait_until("!document.querySelector('.waiting')")
    assert opened.evaluate(f"{counts}.every((one, row) => one > {before}[row])")


def test_answers_dropped_images(opened):
    opened.evaluate(
        "(async () => { const canvas = document.createElement('canvas'); canvas.width = 90; canvas.height = 40; "
        "canvas.getContext('2d'); const blob = await new Promise(done => canvas.toBlob(done)); "
        "const data = new DataTransfer(); data.items.add(new File([blob], 'dropped.png')); "
        "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true})) })()"
    )
    opened.wait_until("document.images.length === 1")
    assert opened.evaluate(CAPTIONS) == ["dropped.png, 90 x 40 pixels"]
    assert opened.complaints() == []


@pytest.mark.parametrize("width", [1400, 420])
def test_fits_the_window(opened, images, width):
    opened.choose_files("[type=file]", images[:1])
    opened.wait_until("document.images.length === 1")
    opened.show((width, 900))
    opened.settle()
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_says_so_where_the_server_is_gone(opened):
    opened.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    opened.evaluate("add([new File(['x'], 'a.png')])")
    opened.wait_until("document.querySelector('.error')")
    opened.call(
        "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )
    assert "a.png: the server does not answer" in opened.evaluate(CAPTIONS)[0]
