"""How long until a scene can be looked at, and what it looks like.

worldline worlds scene rooms --views 24 -o room
python benchmarks/viewer.py room --picture docs/images/viewer.jpg

Times are from the start of the process `worldline view` to its address being printed, to the first answer over HTTP,
to the page being there, and to the first picture of the points, in a Chromium that is running already. Where it has no
GPU the processor draws, and that takes longer than all else. "busy" is the processor time of the viewer's own process.
"""

from __future__ import annotations

import argparse
import io
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "browser"), str(TESTS)]

from browser_window import PANEL  # noqa: E402
from conftest import FLAGS, find_chromium  # noqa: E402

POINTS = 50_000  # in one picture: the scene, not the page's own marks
# window.drawn: points of the last picture that the graphics have finished; reading a pixel back waits for them
COUNT = """
window.drawn = 0;
let count = 0, context = null;
const original = WebGL2RenderingContext.prototype.drawArrays;
WebGL2RenderingContext.prototype.drawArrays = function (mode, first, number) {
    count += number;
    context = this;
    return original.call(this, mode, first, number);
};
const request = window.requestAnimationFrame;
window.requestAnimationFrame = (callback) => request.call(window, (now) => {
    count = 0;
    const result = callback(now);
    if (count > 0) {
        context.readPixels(0, 0, 1, 1, context.RGBA, context.UNSIGNED_BYTE, new Uint8Array(4));
        window.drawn = Math.max(window.drawn, count);
    }
    return result;
});
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", help="folder of a saved scene")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--budget", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, nargs=2, default=(800, 500), help="width and height of the window")
    parser.add_argument("--picture", type=Path, help="save a picture of the window here instead of measuring")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        if options.picture:
            take_picture(browser, options)
            return
        print("| run | address printed, s | first answer, s | page, s | points drawn, s | viewer busy, s |")
        print("|---|---|---|---|---|---|")
        rows = [measure(browser, options) for _ in range(options.runs)]
        for number, row in enumerate(rows):
            print(f"| {number + 1} | " + " | ".join(f"{seconds:.2f}" for seconds in row) + " |")
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        print("| median | " + " | ".join(f"{seconds:.2f}" for seconds in medians) + " |")


def start(options: argparse.Namespace) -> tuple[subprocess.Popen, str]:
    """The running program and its address."""
    command = [sys.executable, "-m", "worldline", "view", options.scene, "--no-browser", "--port", "0"]
    program = subprocess.Popen([*command, "--budget", str(options.budget)], stdout=subprocess.PIPE, text=True)
    for line in program.stdout:
        if found := re.search(r"http://\S+", line):
            return program, found.group()
    raise SystemExit("the viewer did not start")


def measure(browser: Any, options: argparse.Namespace) -> tuple[float, ...]:
    """Seconds to the address, to an answer, to the page, to a picture."""
    began = time.perf_counter()
    program, url = start(options)
    printed = time.perf_counter() - began
    urllib.request.urlopen(url).read()
    answered = time.perf_counter() - began
    page = open_page(browser, url, options)
    there = time.perf_counter() - began
    page.wait_for_function(f"window.drawn > {POINTS}", polling=50)
    drawn = time.perf_counter() - began
    page.close()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    end(program)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return printed, answered, there, drawn, busy


def take_picture(browser: Any, options: argparse.Namespace) -> None:
    """Save what the window shows once everything is drawn."""
    program, url = start(options)
    page = open_page(browser, url, options)
    page.wait_for_timeout(5000)
    for button in page.locator(".mantine-Notification-closeButton").all():
        button.click()
    before, after = None, screenshot(page)
    while not np.array_equal(before, after):
        page.wait_for_timeout(2000)
        before, after = after, screenshot(page)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(options.picture, quality=80, optimize=True)
    end(program)


def open_page(browser: Any, url: str, options: argparse.Namespace) -> Any:
    page = browser.new_page(viewport={"width": options.size[0], "height": options.size[1]})
    page.set_default_timeout(120_000)
    page.add_init_script(COUNT)
    page.goto(url)
    page.wait_for_selector("canvas")
    return page


def screenshot(page: Any) -> np.ndarray:
    """The part of the window that the controls do not cover."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))[:, :-PANEL]


def end(program: subprocess.Popen) -> None:
    program.send_signal(signal.SIGINT)
    program.wait(timeout=60)


if __name__ == "__main__":
    main()
