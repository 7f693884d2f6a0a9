# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: its machine, its time, how far it is, what came out."""

import datetime
import platform
import sys
import time


def cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def fill(entry, measure, must=False):
    """Adds to a result what measure() gives, (accuracy, cost), or why it does not.

    must: a refusal is the run's, not the result's.
    """
    entry.update(status="OK", reason=None, accuracy=None, cost=None)
    try:
        entry["accuracy"], entry["cost"] = measure()
    except ValueError as error:
        if must:
            raise
        entry["status"], entry["reason"] = "UNSUPPORTED", str(error)
    except ArithmeticError as error:
        entry["status"], entry["reason"] = "NUMERICAL", str(error)
    except MemoryError:
        entry["status"], entry["reason"] = "OOM", "memory was short"
    entry["time"] = now()


def clock(seconds):
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def progress(quiet):
    """A function that says what is done, and how long after this call; or nothing."""
    began = time.monotonic()

    def say(what):
        if not quiet:
            print(f"{clock(time.monotonic() - began)}  {what}", file=sys.stderr)

    return say
