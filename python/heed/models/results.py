# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Results: a line of JSON each, appended as they come, so that nothing is lost."""

import fcntl
import hashlib
import json
import os
import pathlib

from heed.models import entries as checks
from heed.models.errors import InputError

BEGINNINGS = (b'{"key":', b'{"run":')  # of the lines that append() writes


def key_of(parts):
    """What a result depends on, as a SHA-256: the same asked again is there."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_ours(data):
    """Whether a file is empty, or one of its lines begins as append() writes them.

    What a killed run left can be less than such a beginning.
    """
    return any(b.startswith(data) for b in BEGINNINGS) or any(
        line.startswith(BEGINNINGS) for line in data.splitlines()
    )


def _entries(path, data, wrong_in=checks.wrong_in):
    """(entries, whole bytes) of a file's bytes, as read_lines."""
    if not _is_ours(data):
        raise InputError(f"{path}: is no file of results: name another")
    whole = data.rfind(b"\n") + 1
    entries = []
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        wrong = wrong_in(entry)
        if wrong:
            raise InputError(
                f"{path}: line {number} is no result ({wrong}): mend it, or give "
                "--fresh"
            )
        entries.append(entry)
    return entries, whole


def read_lines(path):
    """(entries, whole bytes) of a file of JSON lines.

    A last line without its end is what a killed run left, and is not counted.
    Raises InputError for any other line that is no result, and for a file none of
    whose lines begins as one: it is another's.
    """
    return _entries(path, pathlib.Path(path).read_bytes())


class Store:
    """Results by key, on disk. One process at a time has the file, by its lock.

    A file that is there is locked and read at once; one that is not is made by the
    first append(). fresh: what it held goes away with the first append(); a file
    none of whose lines begins as a result is another's, and refused nevertheless.
    wrong_in: says of an entry what makes it none of these results, or None.
    """

    def __init__(self, path, fresh=False, wrong_in=checks.wrong_in):
        self.path, self.entries = pathlib.Path(path), []
        self._file, self._whole = None, 0
        try:
            if self.path.exists():
                self._open()
                data = self.path.read_bytes()
                if not fresh:
                    self.entries, self._whole = _entries(self.path, data, wrong_in)
                elif not _is_ours(data):
                    raise InputError(f"{path}: is no file of results: name another")
        except OSError as error:
            self.close()
            raise InputError(f"--out {path}: {error.strerror}") from None
        except InputError:
            self.close()
            raise
        self._by_key = {e["key"]: e for e in self.entries if "key" in e}
        self._ready = False

    def _open(self):
        """Opens the file and takes its lock, which ends with close()."""
        self._file = open(self.path, "a", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"--out {self.path}: another run writes it now: wait, or name another"
            ) from None

    def _begin(self):
        """Makes the file, or cuts off what is not kept, under the lock."""
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._open()
                if os.fstat(self._file.fileno()).st_size:
                    raise InputError(
                        f"--out {self.path}: another run has written it since this one "
                        "began: the same command goes on from there"
                    )
            elif os.fstat(self._file.fileno()).st_size > self._whole:
                os.ftruncate(self._file.fileno(), self._whole)
            self._ready = True
        except OSError as error:
            raise InputError(f"--out {self.path}: {error.strerror}") from None

    def find(self, key):
        """The result of a key, or None; one that ended in an error is tried anew."""
        entry = self._by_key.get(key)
        return None if entry is None or entry["status"] == "ERROR" else entry

    def append(self, entry):
        """Writes an entry out, to the disk."""
        if not self._ready:
            self._begin()
        self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.entries.append(entry)
        if "key" in entry:
            self._by_key[entry["key"]] = entry

    def close(self):
        if self._file is not None:
            self._file.close()
