# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Results: a line of JSON each, appended as they come, so that nothing is lost."""

import hashlib
import json
import os
import pathlib

from heed.models.errors import InputError


def key_of(parts):
    """What a result depends on, as a SHA-256: the same asked again is there."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_lines(path):
    """(lines, whole bytes): the entries of a file of JSON lines.

    A last line without its end is what a killed run left, and is not counted.
    Raises InputError for any other line that is no JSON object.
    """
    data = pathlib.Path(path).read_bytes()
    whole = data.rfind(b"\n") + 1
    entries = []
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not ("key" in entry or "run" in entry):
            raise InputError(
                f"{path}: line {number} is no result: mend it, or give --fresh"
            )
        entries.append(entry)
    return entries, whole


class Store:
    """Results by key, on disk. Only one process may write a file."""

    def __init__(self, path, fresh=False):
        self.path, self.entries = pathlib.Path(path), []
        self._file, self._whole = None, 0
        try:
            if not fresh and self.path.exists():
                self.entries, self._whole = read_lines(self.path)
        except OSError as error:
            raise InputError(f"--out {path}: {error.strerror}") from None
        self._by_key = {e["key"]: e for e in self.entries if "key" in e}

    def _open(self):
        """The file, from its last whole line on; not before there is a result."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a", encoding="utf-8")
            os.truncate(self.path, self._whole)
        except OSError as error:
            raise InputError(f"--out {self.path}: {error.strerror}") from None

    def find(self, key):
        """The result of a key, or None; one that ended in an error is tried anew."""
        entry = self._by_key.get(key)
        return None if entry is None or entry["status"] == "ERROR" else entry

    def append(self, entry):
        """Writes an entry out, to the disk."""
        if self._file is None:
            self._open()
        self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.entries.append(entry)
        if "key" in entry:
            self._by_key[entry["key"]] = entry

    def close(self):
        if self._file is not None:
            self._file.close()
