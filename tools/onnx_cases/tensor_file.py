# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Safetensors files of f32 tensors, in the order in which they are given."""

import json

import numpy as np


def write_safetensors(path, tensors, metadata, finite=True):
    """Writes (name, array) pairs; ValueError for what is not finite, unless told.

    The package safetensors orders tensors by name; here a case's stand together.
    """
    header = {"__metadata__": metadata}
    offset = 0
    blobs = []
    for name, array in tensors:
        if finite and not np.isfinite(array).all():
            raise ValueError(f"{name} holds a value that is not finite")
        blob = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape),
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
