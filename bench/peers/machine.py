# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a time belongs to: machine, versions, threads, memory settings."""

import ctypes
import importlib.metadata
import os
import pathlib
import platform

# What decides times beside the code: how threads wait, and whether the C library
# keeps freed memory or gives it back, so that each call pays for its pages again.
SETTINGS = (
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "OMP_NUM_THREADS",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_ARENA_MAX",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)

# Of malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def start():
    """Call this before a framework is imported."""
    # Threads of OpenMP watch for the next call for half a millisecond, as other
    # pools do, and not into another's turn.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("KMP_BLOCKTIME", "1")


def keep_memory():
    """glibc: what is freed stays with the process, and blocks are its heap's."""
    libc = ctypes.CDLL(None)
    most = 2**31 - 1
    if not (libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, most)):
        raise RuntimeError("mallopt refused")


def _cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _huge_pages():
    try:
        path = "/sys/kernel/mm/transparent_hugepage/enabled"
        return pathlib.Path(path).read_text().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        return None


def machine(threads, packages):
    """Returns it as a dict, for the JSON of a run."""
    import heed

    info = heed.info()
    versions = {package: _version(package) for package in packages}
    made = {
        "cpu": _cpu(),
        "processors": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load": os.getloadavg()[0],
        "huge_pages": _huge_pages(),
        "versions": {name: version for name, version in versions.items() if version},
        "python": platform.python_version(),
        "heed_target": info["target"],
        "heed_units": info["units"],
        "heed_threads": info["threads_runtime"],
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }
    try:
        import torch
    except ImportError:
        return made
    made["torch_isa"] = torch.backends.cpu.get_cpu_capability()
    return made
