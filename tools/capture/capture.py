#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Capture the queries, keys and values of a real language model on real text.

Runs a llama-architecture GGUF model in float32 numpy over the first tokens of
a text and writes, for the chosen layers, the tensors that go into attention:
queries and keys after RoPE and before any softmax scale, and values. README.md
beside this file describes the output.
"""

import os

# A BLAS that splits a sum over threads may round it differently from one run
# to the next, and the captured bytes should depend on the inputs alone. These
# are read once, when numpy loads its BLAS.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

from errors import CaptureError
from llama import Model, attention, forward, softmax_scale
from sources import (DEFAULT_CHAPTER, MODEL_LICENSE, MODEL_NAME, MODEL_PACKAGE,
                     MODEL_PACKAGE_VERSION, MODEL_SHA256, TEXT_LICENSE,
                     TEXT_PACKAGE, TEXT_PACKAGE_VERSION, default_cache,
                     fetch_chapter, fetch_model, sha256_file)
from tensor_file import read_safetensors, write_safetensors

# A wrong forward pass (RoPE on the wrong pairs, a mis-split text, a swapped
# tensor) still yields plausible-looking tensors, but it costs the model its
# ability to predict: the right pass scores about 52 on the default text, and
# rotating half against half scores several hundred.
MAX_PERPLEXITY = 100.0

# Attention is recomputed in float64, by layer, and compared with the attention
# output of the forward pass in units of that output's root mean square.
# From the tensors as computed, only float32 arithmetic is between the two, so
# the bound is on the largest single difference. From the tensors as written,
# rounding of the stored type moves a few outputs by a percent or more where
# scores are large, so the bound is on the root mean square of the difference.
COMPUTED_TOLERANCE = 2e-4
WRITTEN_TOLERANCE = {"f32": 1e-5, "f16": 4e-3, "bf16": 3e-2}


def self_check(path, captured, dtype):
    """Attention from the captured tensors against the forward pass.

    Returns the worst layer's errors, as computed and as written: see
    COMPUTED_TOLERANCE.
    """
    tensors, metadata = read_safetensors(path)
    scale = float(metadata["softmax_scale"])

    def difference(made, *inputs):
        expected = made["output"].astype(np.float64)
        inputs = (array.astype(np.float64) for array in inputs)
        return ((attention(*inputs, scale) - expected)
                / np.sqrt(np.mean(np.square(expected))))

    parts = ("query", "key", "value")
    computed = written = 0.0
    for layer, made in captured.items():
        error = difference(made, *(made[part] for part in parts))
        computed = max(computed, float(np.abs(error).max()))
        error = difference(made, *(tensors[f"layer.{layer}.{part}"]
                                   for part in parts))
        written = max(written, float(np.sqrt(np.mean(np.square(error)))))
    if not (computed <= COMPUTED_TOLERANCE
            and written <= WRITTEN_TOLERANCE[dtype]):
        raise CaptureError(
            f"self-check: error {computed:.2e} as computed (tolerance "
            f"{COMPUTED_TOLERANCE:.0e}), {written:.2e} as written "
            f"(tolerance {WRITTEN_TOLERANCE[dtype]:.0e})")
    return computed, written


def parse_layers(text, count):
    if text == "all":
        return list(range(count))
    try:
        layers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise CaptureError(f"--layers {text!r} is not a list of numbers")
    if layers[0] < 0 or layers[-1] >= count:
        raise CaptureError(f"layers are 0 to {count - 1}")
    return layers


def arguments(argv):
    parser = argparse.ArgumentParser(
        description="Capture post-RoPE queries, keys and values of a llama "
                    "GGUF model into a safetensors file.")
    parser.add_argument("--model", type=Path, metavar="FILE",
                        help="GGUF file; without it, the one of the Python "
                             f"package {MODEL_PACKAGE}")
    parser.add_argument("--text", default=DEFAULT_CHAPTER, metavar="FILE|N",
                        help="UTF-8 text file, or the number of a chapter of "
                             "Moby Dick (default %(default)s)")
    parser.add_argument("--text-license", default="unspecified",
                        metavar="NAME",
                        help="licence to record for a text FILE")
    parser.add_argument("--tokens", type=int, default=1024, metavar="N",
                        help="how many tokens to run (default %(default)s)")
    parser.add_argument("--layers", default="2,10,19,28", metavar="LIST",
                        help="layer numbers from 0, or all "
                             "(default %(default)s)")
    parser.add_argument("--dtype", choices=sorted(WRITTEN_TOLERANCE),
                        default="f16",
                        help="stored type (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="safetensors file to write")
    parser.add_argument("--cache", type=Path, default=None, metavar="DIR",
                        help="folder for downloads (default heed-capture in "
                             "the user's cache folder)")
    parser.add_argument("--force", action="store_true",
                        help="write even when perplexity is above "
                             f"{MAX_PERPLEXITY:.0f}")
    return parser.parse_args(argv)


def capture(args):
    def log(line):
        print(line, file=sys.stderr)

    cache = args.cache or default_cache()
    if args.text.isascii() and args.text.isdigit():
        text_path = fetch_chapter(cache, args.text)
        text_name = f"Moby Dick, chapter {args.text}, by Herman Melville"
        text_license = TEXT_LICENSE
        text_package = f"{TEXT_PACKAGE} {TEXT_PACKAGE_VERSION}"
    else:
        text_path = Path(args.text)
        text_name = text_path.name
        text_license = args.text_license
        text_package = "none"

    model_path = args.model or fetch_model(cache)
    model_sha256 = sha256_file(model_path)
    model = Model(model_path)
    if model_sha256 == MODEL_SHA256:
        model_name, model_license = MODEL_NAME, MODEL_LICENSE
        model_package = f"{MODEL_PACKAGE} {MODEL_PACKAGE_VERSION}"
    else:
        model_name = model.field("general.name", Path(model_path).name)
        model_license = model.field("general.license", "unspecified")
        model_package = "none"

    c = model.config
    layers = parse_layers(args.layers, c.layers)
    text = text_path.read_bytes()
    ids = model.encode(text.decode("utf-8"))
    if not 2 <= args.tokens <= model.context:
        raise CaptureError(f"--tokens must be 2 to {model.context}")
    if len(ids) < args.tokens:
        raise CaptureError(f"the text has {len(ids)} tokens, fewer than "
                           f"{args.tokens}")
    ids = ids[:args.tokens]

    captured, perplexity = forward(model, ids, set(layers), log)
    print(f"perplexity {perplexity:.4f}")
    if not perplexity <= MAX_PERPLEXITY and not args.force:
        raise CaptureError(f"perplexity is above {MAX_PERPLEXITY:.0f}: the "
                           "forward pass or the text is wrong (--force "
                           "writes anyway)")

    metadata = {
        "format": "heed-qkv-1",
        "description":
            "Attention inputs of a language model on real text. "
            "layer.L.query is [seqlen, num_heads, head_dim]; layer.L.key and "
            "layer.L.value are [seqlen, num_kv_heads, head_dim]. Queries and "
            "keys are after RoPE (adjacent pairs) and not scaled; layers "
            "count from 0; query head h reads key and value head "
            "h // (num_heads / num_kv_heads).",
        "model": model_name,
        "model_license": model_license,
        "model_package": model_package,
        "model_file_sha256": model_sha256,
        "text": text_name,
        "text_license": text_license,
        "text_package": text_package,
        "text_sha256": hashlib.sha256(text).hexdigest(),
        "tokens": str(args.tokens),
        "layers": ",".join(map(str, layers)),
        "perplexity": f"{perplexity:.4f}",
        "causal": "true",
        "softmax_scale": repr(softmax_scale(c.head_dim)),
    }
    tensors = [(f"layer.{layer}.{part}", captured[layer][part])
               for layer in layers for part in ("query", "key", "value")]
    partial = args.out.with_name(args.out.name + ".partial")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_safetensors(partial, tensors, metadata, args.dtype)
        computed, written = self_check(partial, captured, args.dtype)
        os.replace(partial, args.out)
    finally:
        partial.unlink(missing_ok=True)
    print(f"self-check: largest error {computed:.2e} as computed (tolerance "
          f"{COMPUTED_TOLERANCE:.0e}), RMS error {written:.2e} as written "
          f"(tolerance {WRITTEN_TOLERANCE[args.dtype]:.0e})")
    print(f"wrote {args.out}: {args.out.stat().st_size} bytes, "
          f"SHA-256 {sha256_file(args.out)}")


def main(argv=None):
    try:
        capture(arguments(argv))
    except (CaptureError, OSError, UnicodeDecodeError) as error:
        print(f"capture: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
