"""The page in a real Chromium, driven through its DevTools where one is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.studio.conftest import TOKEN, wait_for

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")


class Page:
    """The browser's only page; `errors` is what its console complained of."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools, self._asked = devtools, 0
        self.errors: list[str] = []

    def do(self, method: str, **params: Any) -> Any:
        self._asked += 1
        self._devtools.send(json.dumps({"id": self._asked, "method": method, "params": params}))
        while (message := json.loads(self._devtools.recv(timeout=30))).get("id") != self._asked:
            if message["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(message["params"]))
        return message["result"]

    def value(self, expression: str) -> Any:
        options = {"awaitPromise": True, "returnByValue": True}
        result = self.do("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_until(self, expression: str) -> None:
        wait_for(lambda: self.value(expression), seconds=30)


@pytest.fixture
def page(studio, key, tmp_path) -> Iterator[Page]:
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
    words = [CHROMIUM, *options, f"--user-data-dir={tmp_path}", "about:blank"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            wait_for((tmp_path / "DevToolsActivePort").exists, seconds=60)
            wait_for(lambda: (tmp_path / "DevToolsActivePort").read_text().count("\n"))
            port = (tmp_path / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as listing:
                (target,) = [each for each in json.load(listing) if each["type"] == "page"]
            with connect(target["webSocketDebuggerUrl"], proxy=None, max_size=None) as devtools:
                page = Page(devtools)
                for domain in ("Runtime", "Log", "Page"):
                    page.do(f"{domain}.enable")
                page.do("Page.navigate", url=f"http://127.0.0.1:{studio.port}/?token={TOKEN}")
                page.wait_until("document.readyState === 'complete' && location.search === ''")
                page.wait_until("Boolean(shown) && $('badge').className === 'live' && drawn > 0")
                yield page
        finally:
            browser.terminate()


def test_a_face_moved_by_hand(page, studio, key):
    frames = page.value("drawn")
    page.value(
        """const slider = document.querySelector("input[aria-label=mouthSmileLeft]");
        slider.value = 0.8; slider.dispatchEvent(new Event("input"));"""
    )
    page.wait_until(f"drawn > {frames}")
    assert page.value("pose()") == {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    page.value("document.querySelector('[aria-label=\"Reset mouth\"]').click()")
    assert page.value("pose()") == {}
    page.value(
        "[...document.querySelectorAll('#faces button')].find(b => b.textContent == 'happy').click()"
    )
    wanted = dict(studio.stage.animator.expressions["happy"])
    assert page.value("pose()") == pytest.approx(wanted, abs=1e-4)
    bundle = f"--bundle {studio.stage.animator.bundle.folder}"
    said = f"moue animate astronaut.png --mix happy=1 {bundle} --curve rise --seconds 2 -o out.mp4"
    assert page.value("command()") == said
    assert page.errors == []


def test_what_is_recorded_is_a_curve_that_the_studio_films(page, studio, key):
    page.value("document.querySelector('[data-do=record]').click()")
    page.value("move('jawOpen', 0.5)")
    time.sleep(0.2)
    page.value("move('headYaw', -0.25)")
    page.wait_until("recording.rows.at(-1)[model.actions.findIndex(a => a.name == 'headYaw')] < 0")
    page.value("document.querySelector('[data-do=record]').click()")
    curve = page.value("curve()")
    assert (curve["fps"], curve["actions"]) == (30, ["jawOpen", "headYaw"])
    assert curve["values"][-1] == [0.5, -0.25]
    assert studio.ask("POST", f"/api/portraits/{key}/clip", {"curve": curve}).status == 200


def test_a_clip_that_takes_long_says_so_and_can_be_stopped(page, studio):
    page.value(
        "move('jawOpen', 0.5); $('seconds').value = 90; $('seconds').onchange({target: $('seconds')})"
    )
    assert page.value("$('seconds').value") == "60"
    page.value("document.querySelector('[data-do=clip]').click()")
    page.wait_until("!$('notice').hidden && $('since').textContent")
    assert page.value("$('told').textContent") == "Making the clip; Escape stops it."
    page.value("document.querySelector('[data-do=film]').disabled = false")
    page.value("take = {rows: [[0]]}; document.querySelector('[data-do=film]').click()")
    page.wait_until("$('told').textContent.startsWith('A clip is being made')")
    page.value(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))"
    )
    page.wait_until("$('told').textContent == 'Stopped; no clip is saved.' && making === null")
    assert page.value("document.querySelector('[data-do=clip]').className").split() == [
        "needs",
        "primary",
    ]
    wait_for(lambda: studio.guard.busy["http"] == 0)


def test_what_goes_wrong_is_one_line(page):
    page.value("receive([new File(['no picture'], 'no.png')])")
    page.wait_until("!$('notice').hidden")
    assert "must be a JPEG, PNG or WebP" in page.value("$('told').textContent")


def test_a_frame_that_is_held_is_what_is_saved_and_copied(page):
    page.value(
        "take = {rows: [0, 0.3, 0.6].map(w => model.actions.map(a => a.name == 'jawOpen' ? w : 0))}"
    )
    page.value("scrub(1 / 30); takeChanged()")
    assert page.value("seen()") == {"jawOpen": 0.3}
    assert "--action jawOpen=0.3 " in page.value("command()")
    keys = "key => $('time').dispatchEvent(new KeyboardEvent('keydown', {key}))"
    page.value(f"['Home', 'End'].forEach({keys})")
    assert page.value("seen()") == {"jawOpen": 0.6}
    assert page.value("$('time').getAttribute('aria-valuetext')") == "0.1 seconds"
    page.value("move('jawOpen', 0.1)")
    assert page.value("seen()") == {"jawOpen": 0.1}


def test_a_photo_whose_second_face_moves_leaves_the_choice_to_the_next(page, studio, key):
    studio.stage.sitters[key].face = "2"
    page.value(
        "call('/api/model').then(a => a.json()).then(m => show((portraits = m.portraits)[0]))"
    )
    assert page.value("$('which').value") == "2"
    page.value(
        "fetch(`/api/portraits/${shown.id}/frame`).then(a => a.blob())"
        ".then(b => open(new File([b], '-me.png')))"
    )
    assert page.value("[shown.name, shown.face, $('which').value]") == [
        "-me.png",
        "largest",
        "largest",
    ]
    page.value("move('jawOpen', 0.5)")
    assert page.value("command()").startswith(
        "moue animate ./-me.png --action jawOpen=0.5 --bundle"
    )


def test_a_portrait_that_another_page_closed_can_be_closed_here(page, studio, key):
    page.value("record()")
    studio.stage.drop(key)
    page.value("document.querySelector('[data-do=close]').click()")
    page.wait_until("portraits.length === 0 && shown === null")
    assert page.value("recording") is None
    assert page.value("$('record').textContent") == "● Record"


def test_on_a_small_screen_what_has_the_focus_is_in_sight(page):
    hidden = """(() => {
        const photo = $("stage").getBoundingClientRect(), at = document.activeElement.getBoundingClientRect();
        return $("stage").contains(document.activeElement) ? false : at.top >= photo.top && at.bottom <= photo.bottom;
    })()"""
    for width, height in ((360, 740), (640, 400), (320, 256)):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.do("Emulation.setDeviceMetricsOverride", **size)
        reached = set()
        for modifiers in (0, 8):  # Tab, and back with Shift
            for _ in range(70):
                for kind in ("keyDown", "keyUp"):
                    page.do("Input.dispatchKeyEvent", type=kind, key="Tab", modifiers=modifiers)
                reached.add(page.value("document.activeElement.ariaLabel"))
                assert not page.value(hidden), (
                    width,
                    page.value("document.activeElement.outerHTML"),
                )
        assert len(reached) > 30
        assert page.value("document.documentElement.scrollWidth") <= width


def test_why_there_is_no_connection_is_said(page, studio):
    page.value("fetch = () => Promise.reject(new Error()); socket.close()")
    page.wait_until("$('told').textContent === 'moue studio has ended.'")
    assert page.value("$('badge').textContent") == "not connected"
    page.wait_until("$('badge').className === 'live'")
    page.do(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-reduced-motion", "value": "reduce"}],
    )
    page.value("void busy($('stage'), () => new Promise(done => { window.end = done; }))")
    assert page.value("[$('stage').ariaBusy, getComputedStyle($('stage')).opacity]") == [
        "true",
        "0.5",
    ]
    page.value("end()")
    page.wait_until("$('stage').ariaBusy === 'false'")


def test_a_photo_dropped_anywhere_is_opened(page):
    page.value("receive = files => { window.got = files.length; }")
    drop = """new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: (() => {
        const held = new DataTransfer(); held.items.add(new File(["x"], "x.png")); return held; })()})"""
    assert page.value(f"$('faces').dispatchEvent({drop})") is False
    assert page.value("got") == 1
