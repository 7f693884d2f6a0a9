# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The command `heed`, which the package brings along."""

import os
import pathlib
import sys


def path():
    """Returns where it stands."""
    return str(pathlib.Path(__file__).parent / "bin" / "heed")


def main():
    os.execv(path(), ["heed", *sys.argv[1:]])
