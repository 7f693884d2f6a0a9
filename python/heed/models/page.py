# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Pages that need no network: a template, with Chart.js and the shared scripts inside."""

import json
import os
import pathlib
import re

import heed
from heed.models.errors import InputError


def _shared(name):
    """A file that the wheel brings along. Raises InputError where it does not."""
    path = pathlib.Path(heed.__file__).parent / "share" / "heed" / name
    if not path.exists():
        raise InputError(f"--html: {path} is missing: install heed's wheel")
    return path


def chart_library():
    """Chart.js, without the map that a debugger would look for beside the page."""
    text = _shared("chart.js").read_text(encoding="utf-8")
    return re.sub(r"//# sourceMappingURL=[^\n]*", "", text)


def _scripts():
    """What is shared with the page of `heed compare`: colours, axes, files."""
    folder = _shared("page")
    return "\n".join(p.read_text(encoding="utf-8") for p in sorted(folder.glob("*.js")))


def data(value):
    """JSON that can stand in a script element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def filled(template, parts):
    """The text of a page: HEED_NAME stands for the part of that name.

    HEED_STYLE, HEED_CHART and HEED_SHARED are there anyway. What a part says is not
    looked into again.
    """
    parts = {
        "HEED_STYLE": (_shared("page") / "page.css").read_text(encoding="utf-8"),
        "HEED_CHART": chart_library(),
        "HEED_SHARED": _scripts(),
        **parts,
    }
    text = pathlib.Path(template).read_text(encoding="utf-8")
    return re.sub(r"HEED_[A-Z]+", lambda found: parts.get(found[0], found[0]), text)


def write(path, text):
    """Writes the page, or nothing. Raises InputError where it cannot."""
    partial = pathlib.Path(f"{path}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"--html {path}: {error.strerror}") from None
