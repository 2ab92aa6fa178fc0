import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from keras_sllmr.evaluation.report import write_comparison, write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]


class Browser:
    """A headless Chromium, driven by its DevTools protocol over two pipes."""

    def __init__(self, folder: Path) -> None:
        # Chromium reads commands from descriptor 3 and answers on 4.
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "", *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._left = b""
        self._count = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path) -> None:
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._read())

    def evaluate(self, script: str) -> Any:
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "the browser went away"
            self._left += chunk
        message, self._left = self._left.split(b"\0", 1)
        return json.loads(message)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


def show(browser, path, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.ask("Emulation.setDeviceMetricsOverride", **size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.ask("Emulation.setEmulatedMedia", features=[feature])
    browser.open(path)


# The contrast of each text with the first opaque background behind it, by WCAG 2.
CONTRAST = """(() => {
  const parts = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => parts(c).slice(0, 3).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parts(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return `rgb(${c.slice(0, 3)})`;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = 21;
  while (walker.nextNode()) {
    if (!walker.currentNode.data.trim()) continue;
    const e = walker.currentNode.parentElement, style = getComputedStyle(e);
    const ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    worst = Math.min(worst, (a + .05) / (b + .05));
  }
  return worst;
})()"""


@pytest.fixture(params=["run", "comparison"])
def report(request, judged, comparison, tmp_path):
    """A report of each kind, with much in it."""
    path = tmp_path / "report.html"
    for group in [judged, *comparison["groups"]]:
        slices = [f"category = Kitchen & Dining, part {n} of 20" for n in range(10)]
        slices += [f"history_length_between_{n}_and_{n + 5}_events" for n in range(10)]
        for name in slices:
            group["slices"][name] = {"rows": 0, "users": 0}
            for method in group["methods"].values():
                method["auc_full"][name] = None
        one = {**group["differences"][0], "metric": "auc_full"}
        group["differences"] += [{**one, "slice": name} for name in slices[8:12]]
        group["settings"] = {"long": "x" * 500}
    comparison["settings"]["long"] = "x" * 500
    for name in ("kar", "llmcf"):
        judged["methods"][name] = judged["methods"]["sllmr"]
    if request.param == "run":
        return write_report(judged, path)
    return write_comparison(comparison, path)


def test_page_fits_reads_well_and_stays_offline(browser, report):
    for width in (360, 1280):
        for scheme in ("light", "dark"):
            show(browser, report, width, scheme)
            look(browser, width, scheme)


def look(browser, width, scheme):
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    # Only the tables' own containers scroll sideways.
    assert (
        browser.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg')"
            " && e.getBoundingClientRect().right > innerWidth + 1).length"
        )
        == 0
    )
    assert browser.evaluate(CONTRAST) >= 4.5
    page = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (page == "rgb(255, 255, 255)") == (scheme == "light")
    time.sleep(0.2)
    browser.evaluate("0")
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("file:")] == []
    assert len(asked) == 1
    spoken = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert [e for e in browser.events if e.get("method") in spoken] == []
