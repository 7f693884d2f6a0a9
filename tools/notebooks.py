#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the notebooks of examples/python from the programs there.

    python3 tools/notebooks.py            # writes NAME.ipynb beside each NAME.py
    python3 tools/notebooks.py --check    # says which are not what they would be

A program is cut at lines that begin with "# %%"; a cell "# %% [markdown]" is text.
Notebooks hold no outputs.
"""

import argparse
import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "examples" / "python"
MARK = "# %%"


def cell(head, lines):
    lines = "\n".join(lines).strip("\n").split("\n")
    if "[markdown]" in head:
        lines = [line[2:] if line.startswith("# ") else line[1:] for line in lines]
        made = {"cell_type": "markdown", "metadata": {}}
    else:
        made = {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
        }
    made["source"] = [line + "\n" for line in lines[:-1]] + lines[-1:]
    return made


def convert(text):
    """Returns the notebook of a program; what stands before its first cell is left."""
    cells = []
    for line in text.splitlines():
        if line.startswith(MARK):
            cells.append((line, []))
        elif cells:
            cells[-1][1].append(line)
    notebook = {
        "cells": [cell(*given) for given in cells],
        "metadata": {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for program in sorted(FOLDER.glob("*.py")):
        text = convert(program.read_text())
        path = program.with_suffix(".ipynb")
        if check and not (path.exists() and path.read_text() == text):
            stale.append(path.name)
        if not check:
            path.write_text(text)
    if stale:
        print(f"run tools/notebooks.py: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
