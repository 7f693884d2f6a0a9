# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `heed heads`, opened in Chromium. Skipped where there is none."""

import base64
import html
import re
import shutil
import subprocess

import pytest

from heed.models import atlas

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)

# Clicks on the second head, puts the pointer on the first key of the last row, then
# presses Enter on the first head; leaves what it met on the root element.
USE = """
<script>
const used = document.documentElement.dataset;
const byId = (id) => document.getElementById(id);
used.hiddenFirst = byId('map').hidden;
byId('head-0.1').click();
used.name = byId('map-name').textContent;
const canvas = byId('map-canvas');
const painted = () => {
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((_, i) => i % 4 === 3).join(' ');
};
used.size = canvas.width;
used.alpha = painted();
used.says = byId('map-says').textContent;
const box = canvas.getBoundingClientRect();
canvas.dispatchEvent(new PointerEvent('pointermove',
  {clientX: box.left + 2, clientY: box.bottom - 2, bubbles: true}));
used.pointed = byId('map-says').textContent;
byId('map-text').children[1].dispatchEvent(new PointerEvent('pointerenter'));
used.onToken = byId('map-says').textContent;
byId('head-0.0').dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
used.second = byId('map-name').textContent;
used.open = document.querySelectorAll('td.open').length;
used.text = byId('map-text').textContent;
used.charts = [...document.querySelectorAll('.chart')].filter((c) => c.offsetHeight > 0).length;
</script>
"""


def head(number, **more):
    return {"layer": 0, "head": number, "sink": 0.5, "type": "sink", **more}


def result(**more):
    return {
        "command": "heed heads",
        "model": "m",
        "model_sha256": "0",
        "text": "T",
        "text_sha256": "1",
        "tokens": 3,
        "cpu": "c",
        "time": "now",
        "heads": [head(0), head(1, type="local")],
        "other_texts": [],
        "rankings": [
            {"a": "x", "b": "y", "rho": None, "top": 2, "shared": 1, "by_chance": 0.5}
        ],
        **more,
    }


# Three tokens: one of them would end the data's element, one is a placeholder.
MAPS = {
    "tokens": ["</script>", "HEED_CHART", " c"],
    "heads": [
        base64.b64encode(bytes(levels)).decode()
        for levels in ([255, 0, 255, 0, 0, 255], [255, 255, 0, 128, 0, 221])
    ],
}


def root_of(page, tmp_path):
    """What the page's scripts left on its root element."""
    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    shown = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        + [f"--user-data-dir={tmp_path}/profile", "--dump-dom", path.as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
        text=True,
    )
    found = re.search(r"<html[^>]*>", shown.stdout)[0]
    return dict(re.findall(r'data-([a-z-]+)="([^"]*)"', found))


def curve(loss):
    return [{"share": 0.1, "loss": loss, "other_loss": loss, "margin": 1.0}]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_click_opens_a_map(tmp_path):
    pruning = {"curves": {"taylor": curve(0.1)}, "random": [curve(0.2)]}
    page = atlas.page(result(pruning=pruning), MAPS)
    used = root_of(page.replace("</body>", USE + "</body>"), tmp_path)
    assert "errors" not in used
    assert used["hidden-first"] == "true"
    assert used["name"] == "Head 0.1: local" and used["second"] == "Head 0.0: sink"
    assert used["size"] == "3" and used["open"] == "1"
    # A row a query: what is ahead of it is not painted.
    assert used["alpha"] == "255 0 0 255 0 0 128 0 221"
    # The last row: 128 / 255 squared, and 221 / 255 squared.
    assert used["says"].index("(2): 0.751") < used["says"].index("(0): 0.252")
    assert used["pointed"].endswith("(0): 0.252") and "(2): " not in used["pointed"]
    assert "(1) looks at" in used["on-token"] and "1.000" in used["on-token"]
    assert html.unescape(used["text"]) == "".join(MAPS["tokens"])
    assert used["charts"] == "3"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_page_without_maps(tmp_path):
    page = atlas.page(result())
    assert 'role="button"' not in page
    # Its script runs to the end, and an error would be seen.
    done = "<script>document.documentElement.dataset.done = 1;</script></body>"
    assert root_of(page.replace("</body>", done), tmp_path) == {"done": "1"}
    broken = page.replace("</body>", "<script>nobody();</script></body>")
    assert "nobody" in root_of(broken, tmp_path)["errors"]
