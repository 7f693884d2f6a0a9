# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Safetensors files of f32, f16 and bf16 tensors."""

import json
from pathlib import Path

import numpy as np

from errors import CaptureError


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


def write_safetensors(path, tensors, metadata, dtype, finite=True):
    """Writes float32 arrays; refuses what is not finite, unless told."""
    header = {"__metadata__": metadata}
    offset = 0
    blobs = []
    for name, array in tensors:
        if finite and not np.isfinite(array).all():
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
