# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""A result as one file of JSON, under its name when it is whole."""

import json
import os

from heed.models.errors import InputError


def check(name, path):
    """Raises InputError for a path that no result can be written to."""
    if os.path.exists(path) and not os.path.isfile(path) or not path:
        raise InputError(f"{name} {path or repr(path)}: is no file")
    if not os.access(os.path.dirname(path) or ".", os.W_OK):
        raise InputError(f"{name} {path}: cannot be written")
    if os.path.isdir(path + ".partial"):
        raise InputError(f"{name} {path}: {path}.partial is a folder")


def write(name, path, result, indent=None):
    """Writes a result to the path that an option names; InputError where it cannot."""
    partial = path + ".partial"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=indent)
            file.write("\n")
        os.replace(partial, path)
    except OSError as error:
        if os.path.isfile(partial):
            os.remove(partial)
        raise InputError(f"{name} {path}: {error.strerror}") from None
