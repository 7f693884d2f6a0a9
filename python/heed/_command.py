# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The command `heed`, which the package brings along."""

import importlib
import importlib.util
import os
import pathlib
import sys

# Commands that are Python, since they run models: the module whose main() each is.
# All others are the tool's.
_IN_PYTHON = {
    "eval": "heed.models.evaluate",
    "facts": "heed.models.facts",
    "heads": "heed.models.heads",
}


def path():
    """Returns where it stands."""
    return str(pathlib.Path(__file__).parent / "bin" / "heed")


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name in _IN_PYTHON:
        for package in ("torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                sys.exit(f"heed {name}: needs {package}: pip install 'heed[models]'")
        sys.exit(importlib.import_module(_IN_PYTHON[name]).main(sys.argv[2:]))
    os.execv(path(), ["heed", *sys.argv[1:]])
