"""The page in a real browser: asked, played, cut, shared, gone back from. Where there is none, a skip says so."""

import os
import shutil
import socket
import threading
import time

import cv2
import numpy as np
import pytest
import uvicorn

from mmv_tf.searching import server

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the page was not tried in a browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-sync", "--autoplay-policy=no-user-gesture-required"),
]


@pytest.fixture(scope="module")
def address(made):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    runner = uvicorn.Server(uvicorn.Config(server.app(made.index), log_level="error"))
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    runner.should_exit = True
    thread.join(30)


def _until(page, expression):
    """Waits for an expression to be true. Not by the page's own timers: its policy forbids code from strings."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        time.sleep(0.1)
    raise AssertionError(f"{expression} is never true")


@pytest.fixture
def page(address):
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 400, "height": 800})
        troubles = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        _until(page, r"/moments of [\d.]+ s$/.test(document.getElementById('state').textContent)")
        yield page
        browser.close()
        assert troubles == []


def _ask(page, text="batter"):
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.wait_for_selector(".hit")


def test_a_text_is_asked_and_the_address_is_the_whole_state(page, address):
    _ask(page)
    names = page.locator(".hit b").all_text_contents()
    assert "a.mp4" in names and "text=batter" in page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.select_option("#within", "video")
    page.wait_for_url("**within=video**")
    shared = page.url
    page.goto("about:blank")
    page.goto(shared)
    page.wait_for_selector(".hit")
    assert page.input_value("#text") == "batter" and page.input_value("#within") == "video"
    with page.expect_download() as download:
        page.click("#csv")
    assert open(download.value.path()).readline().startswith("file,start,end")


def test_every_file_shows_moving_pictures(page, address, made):
    _ask(page)
    page.locator(".hit", has_text="a.mp4").first.click()
    _until(page, "document.getElementById('video').videoWidth > 0 && document.getElementById('video').currentTime > 0")
    assert page.evaluate("document.getElementById('video').dataset.kind") == "file"
    # MPEG-4 in Matroska: of this browsers play the sound alone.
    ((number,),) = made.index.store.rows(
        "SELECT MIN(w.id) FROM windows w JOIN files f ON f.id = file WHERE path LIKE '%.mkv'"
    )
    page.goto("about:blank")
    page.goto(f"{address}#play={number}")
    _until(page, "document.getElementById('video').dataset.kind == 'preview'")
    _until(page, "document.getElementById('video').videoWidth > 0 && document.getElementById('video').currentTime > 0")
    assert page.text_content("#title") == "sub/<img src=x onerror=alert(1)>.mkv"


def test_a_cut_is_moved_and_saved_and_one_goes_back(page):
    _ask(page)
    page.locator(".hit", has_text="a.mp4").first.click()
    page.wait_for_selector("#player[open]")
    page.fill("#from", "0.5")
    page.press("#from", "Tab")
    page.fill("#to", "1.5")
    page.press("#to", "Tab")
    assert "from=0.5" in page.url and "to=1.5" in page.url
    with page.expect_download() as download:
        page.click("#save")
    assert os.path.getsize(download.value.path()) > 1000
    page.keyboard.press("Escape")
    page.wait_for_selector("#player:not([open])", state="attached")
    page.go_back()
    page.wait_for_selector("#player[open]")
    page.click("#like")
    page.wait_for_url("**like=**")
    page.wait_for_selector(".hit")


def test_a_picture_is_given(page, tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.full((48, 64, 3), 60, np.uint8))
    page.set_input_files("#upload", str(tmp_path / "x.png"))
    page.wait_for_url("**upload=**")
    page.wait_for_selector(".hit")
    assert "picture" in page.locator(".why").first.text_content()
    assert page.text_content("#what") == "With the picture" and page.is_hidden("#balance")
    page.fill("#text", "a red ball")
    page.press("#text", "Enter")
    page.wait_for_url("**text=a+red+ball**")
    page.fill("#balance", "0.8")
    page.wait_for_url("**balance=0.8**")
    _until(page, "document.getElementById('csv').getAttribute('href').includes('weights=text%3D0.8%2Cimage%3D0.2&')")
    page.click("#without")
    _until(page, "!location.hash.includes('upload') && !location.hash.includes('balance')")
    assert page.is_hidden("#with") and "text=a+red+ball" in page.url


def test_filters_are_part_of_the_address(page, address, made):
    made.index.store.label([("dog", "a.mp4")])
    page.goto("about:blank")
    page.goto(f"{address}#like={made.index.store.rows('SELECT MIN(id) FROM windows')[0][0]}")
    page.wait_for_selector(".hit")
    page.click("#filters summary")
    _until(page, "document.querySelector('#labels option')?.value == 'dog'")
    for name, value in (("label", "dog"), ("after", "2001-02-03"), ("max_seconds", "60")):
        page.fill(f"#{name}", value)
        page.press(f"#{name}", "Tab")
        page.wait_for_url(f"**{name}={value}**")
    names = "[...document.querySelectorAll('.hit b')].map((one) => one.textContent)"
    _until(page, f"{names}.length && {names}.every((name) => name == 'a.mp4')")
    made.index.store.label([])
    page.fill("#before", "2001-02-03")
    page.press("#before", "Tab")
    _until(page, "document.getElementById('notes').textContent.endsWith('nothing found')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_file_that_is_deleted_while_it_is_shown_is_told(page, made):
    _ask(page)
    os.rename(made.videos / "a.mp4", made.videos / "hidden")
    try:
        page.locator(".hit", has_text="a.mp4").first.click()
        _until(page, "document.getElementById('trouble').textContent.includes('no such file')")
    finally:
        os.rename(made.videos / "hidden", made.videos / "a.mp4")
