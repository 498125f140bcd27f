"""The HTML report in a browser: its colours in light and dark, its width on a phone."""

import math
import re
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest

from inarch.verify.html import render
from inarch.verify.report import Finding, Measure, Report
from inarch.verify.tokenizer import TextDifference, TokenizerParity

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")

# Nothing that reaches for the network; --no-sandbox for containers that run as root.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-color-profile=srgb",
]  # fmt: skip
SCHEMES = {"dark": "0", "light": "1"}
PAPER = {"light": (0xFC, 0xFB, 0xF8), "dark": (0x15, 0x18, 0x1B)}
ACCENT = {
    ("passed", "light"): (0x23, 0x76, 0x4F), ("passed", "dark"): (0x74, 0xC6, 0x9D),
    ("failed", "light"): (0xB8, 0x32, 0x1A), ("failed", "dark"): (0xFF, 0x8C, 0x6E),
}  # fmt: skip
WIDE, PHONE = (1200, 800), (390, 3000)


def report(kind):
    failed = kind == "failed"
    measures = []
    for i in range(6):
        scale = 9e4 if failed and i >= 2 else 1.0
        for layer, role in [("attention", "attention"), ("up", "linear"), ("x" * 60, "output")]:
            heads = (1e-7, 0.5 * failed, 0.2 * failed) if role == "attention" else ()
            path, reference = f"layer_{i}/{layer}", f"encoder.layers.{i}.{layer}"
            own = 7e3 if failed and i == 2 and heads else 1.0
            measures.append(
                Measure(path, 0, role, reference, (2, 9, 12), scale, own, 1e-6, 1e-7, heads)
            )
    findings, tokenizer = (), TokenizerParity(40)
    if failed:
        measures.append(Measure("pooler", 0, "output", "pooler", (2, 12), math.inf, None))
        findings = (Finding("layer_2/attention", measures[6], "Heads in another order"),)
        difference = TextDifference("\u200b" * 40 + "long" * 40, "ids", "1, " * 80, "2, " * 80)
        tokenizer = TokenizerParity(40, (difference,))
    about = {"model.safetensors": "sha256 " + "5ac1" * 16}
    return Report(
        "BertBackbone", "folder/" * 20, about, tuple(measures), findings, tokenizer=tokenizer
    )


@pytest.fixture
def browse(tmp_path):
    """Runs the browser on a report and gives its standard output."""

    def run(kind, *options):
        page = tmp_path / f"{kind}.html"
        page.write_text(render(report(kind)), "utf-8")
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options]
        done = subprocess.run([*command, page.as_uri()], capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode("utf-8")

    return run


@pytest.fixture
def shoot(browse, tmp_path):
    """A report as the browser shows it: uint8 `[height, width, 3]`."""

    def run(kind, scheme, size):
        path = tmp_path / "shot.png"
        browse(
            kind, f"--screenshot={path}", f"--window-size={size[0]},{size[1]}",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        )  # fmt: skip
        return pixels_of(path.read_bytes())

    return run


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["passed", "failed"])
def test_the_page_takes_the_readers_colours_and_shows_the_verdict_in_its_own(shoot, kind, scheme):
    pixels = shoot(kind, scheme, WIDE)
    assert tuple(pixels[0, 0]) == PAPER[scheme]
    share_of_paper = (pixels == PAPER[scheme]).all(-1).mean()
    assert 0.6 < share_of_paper < 0.99
    top = pixels[:200]
    shown = {k: (top == ACCENT[k, scheme]).all(-1).sum() for k in ("passed", "failed")}
    assert shown.pop(kind) > 100
    assert list(shown.values()) == [0]


@pytest.mark.parametrize("kind", ["passed", "failed"])
def test_nothing_runs_off_the_side_of_a_phone(shoot, kind):
    pixels = shoot(kind, "light", PHONE)
    assert pixels.shape == (PHONE[1], PHONE[0], 3)
    assert (pixels[:, -8:] == PAPER["light"]).all()
    assert (pixels[:, :8] == PAPER["light"]).all()


def test_the_browser_keeps_the_page_as_written_with_the_guilty_layer_open(browse):
    dom = browse("failed", "--dump-dom")
    assert re.search(r"<h1>\s*Heads in another order\s*</h1>", dom)
    opened = re.findall(r'<details class="row wrong" open="">.*?<code>(.*?)</code>', dom, re.DOTALL)
    assert opened == ["layer_2"]
    assert dom.count("<details") == dom.count("</details>") == 6 + 1 + 1


def pixels_of(png):
    """Decode an 8-bit RGB or RGBA PNG that isn't interlaced (ISO/IEC 15948)."""
    at, data = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        chunk = png[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", chunk)
            assert (depth, interlaced) == (8, 0)
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            data += chunk
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, -1)
    pixels = np.zeros((height, width * channels), np.uint8)
    above = np.zeros(width * channels, np.uint8)
    for y, line in enumerate(lines):
        above = pixels[y] = unfilter(line[0], line[1:], above, channels)
    return pixels.reshape(height, width, channels)[..., :3]


def unfilter(kind, line, above, channels):
    """A line of a PNG from what its filter left of it."""
    if kind == 0:
        return line
    if kind == 1:
        return line.reshape(-1, channels).cumsum(0, dtype=np.uint8).ravel()
    if kind == 2:
        return line + above
    left = [0] * channels
    corner = [0] * channels
    result = line.tolist()
    for x, up in enumerate(above.tolist()):
        c = x % channels
        if kind == 3:
            guess = (left[c] + up) // 2
        else:
            distances = (
                abs(up - corner[c]),
                abs(left[c] - corner[c]),
                abs(left[c] + up - 2 * corner[c]),
            )
            guess = (left[c], up, corner[c])[distances.index(min(distances))]
        result[x] = left[c] = (result[x] + guess) & 255
        corner[c] = up
    return np.array(result, np.uint8)
