"""Drives the status page of a running daemon. usage: page.py CHROMIUM URL INBOX OUTBOX SCREENSHOTS"""

import json
import pathlib
import shutil
import sys
import time

from playwright.sync_api import sync_playwright

browser, url, inbox, outbox, shots = sys.argv[1:]
inbox, outbox, shots = (pathlib.Path(p) for p in (inbox, outbox, shots))
name = "bird <b>&\"' box"
shutil.copy("examples/data/videos/bird.mp4", inbox / f"{name}.mp4")
(inbox / "broken.avi").write_text("no video")

with sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
    page = chromium.new_page(viewport={"width": 1100, "height": 800})
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda d: errors.append("a dialog: a name was taken for a script"))
    page.goto(url)
    page.get_by_role("link", name="draw the box").click(timeout=30_000)
    frame = page.locator("#stage img")
    frame.wait_for()
    page.wait_for_function("document.querySelector('#stage img').naturalWidth > 0")
    size = page.evaluate("[document.querySelector('#stage img').naturalWidth, document.querySelector('#stage img').naturalHeight]")
    place = frame.bounding_box()
    scale = place["width"] / size[0]
    x, y, w, h = 20, 15, 150, 180  # the bird in the first frame, px
    page.mouse.move(place["x"] + x * scale, place["y"] + y * scale)
    page.mouse.down()
    page.mouse.move(place["x"] + (x + w) * scale, place["y"] + (y + h) * scale, steps=5)
    page.mouse.up()
    page.screenshot(path=shots / "drawn.png")
    page.get_by_role("button", name="track").click()
    page.wait_for_url(f"{url}/")
    deadline = time.monotonic() + 120
    while not list((outbox / "done").glob("*/result.json")):
        assert time.monotonic() < deadline, "the job did not run"
        time.sleep(0.2)
    result = json.loads(next((outbox / "done").glob("*/result.json")).read_text())
    assert all(abs(a - b) <= 1.0 for a, b in zip(result["targets"][0]["init"], [x, y, w, h])), result["targets"]
    page.goto(url)
    page.locator("#latest .state.failed").wait_for(timeout=30_000)
    page.locator("#latest .state.done").wait_for(timeout=30_000)
    page.wait_for_function("[...document.images].every(i => i.naturalWidth > 0)")
    page.screenshot(path=shots / "index.png")
    page.locator("#latest a", has_text="bird").click()
    page.wait_for_function("document.images.length == 2 && [...document.images].every(i => i.naturalWidth > 0)")
    page.screenshot(path=shots / "job.png")
    page.goto(url)
    page.get_by_role("button", name="try again").click()
    page.wait_for_url(f"{url}/")
    assert not errors, errors
    chromium.close()
print("status page: all is well")
