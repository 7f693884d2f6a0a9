# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The command `heed`, which the package brings along.

What runs a model is Python; the rest is the tool.
"""

import importlib
import importlib.util
import os
import pathlib
import sys

# Commands that are Python, since they run models or draw what was found of one: the
# module whose main() each is.
# All others are the tool's.
_IN_PYTHON = {
    "bars": "heed.models.bars",
    "capture": "heed._capture",
    "eval": "heed.models.evaluate",
    "facts": "heed.models.facts",
    "heads": "heed.models.heads",
    "positions": "heed.models.positions",
    "report": "heed.report.command",
}


def path():
    """Returns where the tool stands."""
    return str(pathlib.Path(__file__).parent / "bin" / "heed")


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["help"] and arguments[1:2] and arguments[1] in _IN_PYTHON:
        arguments = [arguments[1], "--help"]
    name = arguments[0] if arguments else None
    if name in _IN_PYTHON:
        module = _IN_PYTHON[name]
        # Those of heed.models import them at once; others ask for what they need.
        if module.startswith("heed.models."):
            for package in ("torch", "transformers"):
                if importlib.util.find_spec(package) is None:
                    sys.exit(f"heed {name}: needs {package}: pip install 'heed[models]'")
        sys.exit(importlib.import_module(module).main(arguments[1:]))
    os.execv(path(), ["heed", *arguments])
