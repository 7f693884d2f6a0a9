# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The command `heed`, which the package brings along.

`heed capture` runs a model, so it is Python; the rest is the tool.
"""

import os
import pathlib
import sys


def path():
    """Returns where the tool stands."""
    return str(pathlib.Path(__file__).parent / "bin" / "heed")


def main():
    arguments = sys.argv[1:]
    if arguments[:2] == ["help", "capture"]:
        arguments = ["capture", "--help"]
    if arguments[:1] == ["capture"]:
        from heed import _capture

        sys.exit(_capture.main(arguments[1:]))
    os.execv(path(), ["heed", *arguments])
