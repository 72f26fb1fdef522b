"""The page of `restore compare`: what it holds, and that it works in a browser where there is one."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import browser
import numpy as np
import pytest
from compare_files import FRAMES, make_three, psnr, read_page
from PIL import Image
from restore.evaluation.compare_frames import choose_format


@pytest.fixture
def three(clips, tmp_path):
    return make_three(clips, tmp_path)


def test_pictures_in_the_page_are_those_of_the_files(restore, photo):
    rng = np.random.default_rng(0)
    pixels = [np.asarray(Image.open(photo("clean.png", size=(40, 30))))]
    for name in ("a.png", "b.png"):
        pixels.append(np.clip(pixels[0] + rng.integers(-9, 9, pixels[0].shape), 0, 255).astype(np.uint8))
        Image.fromarray(pixels[-1]).save(name)
    answer = restore("compare", "clean.png", "a.png", "b.png", "-o", "report.html")
    assert answer.code == 0, answer.err
    assert "PNG, without loss" in answer.out
    shown = read_page("report.html")
    for i, expected in enumerate(pixels):
        assert np.array_equal(shown.image(0, i), expected)
    weights = np.array([65.481, 128.553, 24.966]) / 255
    lumas = [np.round(p @ weights + 16) for p in pixels]
    assert shown.blocks["data"]["versions"][1]["psnr"] == pytest.approx([psnr(lumas[1], lumas[0])], abs=1e-6)


def test_video_colours_follow_the_files_own_matrix(restore, three):
    restore("compare", *three[0], "-o", "report.html")
    shown = read_page("report.html")
    y, cb, cr = three[1][0][2], (110 - 128) / 224, (150 - 128) / 224
    luma = (y - 16) / 219
    red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
    green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
    expected = np.clip(255 * np.stack([red, green, blue], -1), 0, 255)
    assert np.abs(shown.image(2, 0) - expected).max() <= 1


def test_the_page_is_one_file(restore, three):
    restore("compare", *three[0], "-o", "report.html")
    shown = read_page("report.html")
    assert not re.search(r"[a-z]+://", shown.text)
    assert not [a for a in shown.attributes if a[1] in ("src", "href", "srcset", "action", "data")]
    assert "@import" not in shown.text
    assert "url(" not in shown.text
    assert ("meta", "http-equiv", "Content-Security-Policy") in shown.attributes
    assert shown.cells[:3] == ["version", "PSNR", "lowest"]
    assert "a.mkv" in shown.cells
    # Every control has a name.
    for wanted in ("Swap sides", "Zoom in", "Zoom out", "Previous frame", "Next frame", "Play", "Frame"):
        assert any(name == "aria-label" and value == wanted for _, name, value in shown.attributes)


def test_names_are_escaped_and_hold_no_folders(restore, three):
    evil = "<script>alert(1)<!--data-->&'\".mkv"
    Path("in").mkdir()
    shutil.copy(three[0][1], Path("in") / evil)
    shutil.copy(three[0][0], "in/clean.mkv")
    answer = restore("compare", Path("in/clean.mkv").resolve(), Path("in").resolve() / evil, "-o", "report.html")
    assert answer.code == 0, answer.err
    shown = read_page("report.html")
    assert shown.text.count("<script") == 3
    assert "alert(1)<" not in shown.text
    assert shown.blocks["data"]["versions"][1]["name"] == evil
    assert evil in shown.cells
    assert str(Path.cwd()) not in shown.text


def test_png_while_it_fits_else_jpeg(restore, three, monkeypatch):
    assert choose_format(480, 272, 3, 10) == "png"
    assert choose_format(1920, 1080, 3, 10) == "jpeg"
    monkeypatch.setattr("restore.evaluation.compare_frames.BUDGET", 1000)
    answer = restore("compare", *three[0], "-o", "report.html", "--frames", "2")
    assert "2 of 5 frames to look at (JPEG, quality 95, 4:4:4)" in answer.out
    shown = read_page("report.html")
    data = shown.blocks["data"]
    assert (data["mime"], len(data["shown"]), len(data["versions"][1]["psnr"])) == ("image/jpeg", 2, FRAMES)
    assert 3 in data["shown"]
    luma = shown.image(data["shown"].index(3), 0)[..., 1].astype(float)
    assert np.abs(np.diff(luma.mean(axis=0))).max() < 12


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium is installed")
    opened = browser.Browser(program, tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


SEES = """(() => {
  const text = (id) => document.getElementById(id).textContent;
  const side = (name) => ({
    says: text(`tag-${name}`),
    pixel: [...document.getElementById(`canvas-${name}`).getContext("2d").getImageData(5, 7, 1, 1).data].slice(0, 3),
  });
  return {
    position: text("position"), left: side("left"), right: side("right"), zoom: text("zoom"), play: text("play"),
    divider: document.getElementById("divider").getAttribute("aria-valuenow"), readout: text("readout"),
    moved: document.getElementById("canvas-left").style.transform,
    lines: document.querySelectorAll("#plot .line").length,
  };
})()"""


def box(window, selector):
    """Left, top, width and height on the screen."""
    window.js(f"document.querySelector('{selector}').scrollIntoView({{ block: 'nearest' }})")
    edges = f"const b = document.querySelector('{selector}').getBoundingClientRect()"
    return window.js(f"(() => {{ {edges}; return [b.left, b.top, b.width, b.height]; }})()")


def click(window, selector):
    left, top, width, height = box(window, selector)
    window.drag((left + width / 2, top + height / 2))


def test_frames_versions_and_lists_in_a_browser(restore, three, window):
    restore("compare", *three[0], "-o", "report.html")
    shown = read_page("report.html")
    versions = shown.blocks["data"]["versions"]
    window.open(Path("report.html"))

    def shows(frame, left, right):
        seen = window.js(SEES)
        assert seen["position"] == f"Frame {frame} / 4"
        for side, version in (("left", left), ("right", right)):
            entry = versions[version]
            tail = "reference" if entry["reference"] else f"{entry['psnr'][frame]:.2f} dB"
            assert seen[side]["says"] == f"{entry['name']} · {tail}"
            assert seen[side]["pixel"] == shown.image(frame, version)[7, 5].tolist()
        return seen

    assert shows(0, 0, 1)["lines"] == 2
    window.key("ArrowRight")
    window.key("ArrowRight")
    shows(2, 0, 1)
    window.key("End")
    shows(4, 0, 1)
    click(window, "#previous")
    shows(3, 0, 1)
    window.key("Home")
    click(window, "#worst div:nth-child(2) button")
    shows(3, 0, 2)
    window.key("s")
    shows(3, 2, 0)
    window.js(
        "(() => { const r = document.getElementById('right'); r.value = 1; r.dispatchEvent(new Event('change')); })()"
    )
    window.settle()
    shows(3, 2, 1)
    left, top, width, _ = box(window, "#plot")
    window.drag((left + 50, top + 60))
    shows(0, 2, 1)
    window("Input.dispatchMouseEvent", type="mouseMoved", x=left + width - 14, y=top + 60)
    window.wait("document.getElementById('readout').textContent.startsWith('Frame 4 · a.mkv')")
    click(window, "[data-metric=ssim]")
    assert "SSIM" in window.js("document.querySelector('#plot svg').getAttribute('aria-label')")
    click(window, "#play")
    window.wait("document.getElementById('position').textContent !== 'Frame 0 / 4'")
    click(window, "#play")
    assert window.js(SEES)["play"] == "Play"
    window.js("location.hash = '#frame=1&left=0&right=2&zoom=4&split=0.4'")
    window.wait("document.getElementById('zoom').textContent === '4\u00d7'")
    window.settle()
    assert shows(1, 0, 2)["divider"] == "40"


def test_divider_zoom_and_pan_in_a_browser(restore, three, window):
    restore("compare", *three[0], "-o", "report.html")
    window.open(Path("report.html"), "#split=0.5")
    left, top, width, height = box(window, "#stage")

    def at(x, y=0.5):
        return left + x * width, top + y * height

    def sees(key):
        return window.js(SEES)[key]

    window.drag(at(0.5), at(0.4), at(0.3, 0.6))
    assert sees("divider") == "30"
    # Having dragged the divider, the arrows still step through frames.
    window.key("ArrowRight")
    assert (sees("divider"), sees("position")) == ("30", "Frame 1 / 4")
    window.js("document.getElementById('divider').focus()")
    window.key("ArrowRight")
    assert (sees("divider"), sees("position")) == ("32", "Frame 1 / 4")
    window.js("document.activeElement.blur()")
    window.wheel(*at(0.1, 0.2), -4000)
    window.wait("document.getElementById('zoom').textContent === '8\u00d7'")
    # What was under the pointer stays there.
    x, y = (float(v) for v in re.findall(r"-?[\d.]+(?=px)", sees("moved")))
    assert (x, y) == pytest.approx((-0.7 * width, -1.4 * height), abs=8)  # whole pixels, times 8
    assert window.js("getComputedStyle(document.getElementById('canvas-left')).imageRendering") == "pixelated"
    window.drag(at(0.8, 0.8), at(0.7, 0.7))
    dx, dy = (float(v) for v in re.findall(r"-?[\d.]+(?=px)", sees("moved")))
    assert (dx - x, dy - y) == pytest.approx((-0.1 * width, -0.1 * height), abs=2)
    assert sees("divider") == "32"
    window.key("0")
    assert sees("moved") == "translate(0px, 0px) scale(1)"


def test_a_screenshot_shows_both_sides(restore, photo, window):
    """Black on the left, white on the right of the divider, whatever the theme."""
    photo("grey.png", size=(60, 40))
    for name, value in (("black.png", 0), ("white.png", 255)):
        Image.fromarray(np.full((40, 60, 3), value, np.uint8)).save(name)
    restore("compare", "grey.png", "black.png", "white.png", "-o", "report.html")
    window.open(Path("report.html"), "#left=1&right=2&split=0.25")
    left, top, width, height = (round(v) for v in box(window, "#stage"))
    shot = np.asarray(Image.open(io.BytesIO(window.screenshot())).convert("L")).astype(int)
    assert shot.shape[1] == 1200
    row = shot[top + height * 3 // 4, left : left + width]
    assert (row[5 : width // 4 - 5] == 0).all()
    assert (row[width // 4 + 5 : -5] == 255).all()
    assert window.js("document.getElementById('transport').hidden && document.getElementById('plot-card').hidden")
