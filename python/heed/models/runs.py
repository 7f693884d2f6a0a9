# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself: its machine, its time, how far it is."""

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


def clock(seconds):
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def progress(quiet):
    """A function that says what is done, and how long after this call; or nothing."""
    began = time.monotonic()

    def say(what):
        if not quiet:
            print(f"{clock(time.monotonic() - began)}  {what}", file=sys.stderr)

    return say
