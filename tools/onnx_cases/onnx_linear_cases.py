#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Turn the ONNX backend cases for LinearAttention into one safetensors file.

README.md beside this file has the setup; data/README.md describes the output.
"""

import argparse
import hashlib
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

from onnx_cases import DTYPES, VERSION, CaseError
from tensor_file import write_safetensors

PREFIX = "test_linear_attention_"
INPUTS = ("query", "key", "value", "past_state", "decay", "beta")
OUTPUTS = ("output", "present_state")
ATTRIBUTES = {"q_num_heads", "kv_num_heads", "update_rule", "scale",
              "chunk_size"}


def read(test):
    """{name: array} and {attribute: text} of a backend test."""
    graph = test.model.graph
    if [node.op_type for node in graph.node] != ["LinearAttention"]:
        raise CaseError("is not one LinearAttention node")
    node = graph.node[0]
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute)
                  for attribute in node.attribute}
    unknown = set(attributes) - ATTRIBUTES
    if unknown:
        raise CaseError(f"has the unknown attributes {sorted(unknown)}")
    inputs, outputs = test.data_sets[0]
    tensors = {}
    for values, data, given, names in (
            (graph.input, inputs, node.input, INPUTS),
            (graph.output, outputs, node.output, OUTPUTS)):
        by_name = {value.name: np.asarray(array)
                   for value, array in zip(values, data)}
        tensors |= {name: by_name[own]
                    for own, name in zip(given, names) if own}
    rule = attributes.get("update_rule", b"gated_delta").decode()
    return tensors, {
        "update_rule": rule,
        "q_num_heads": str(attributes["q_num_heads"]),
        "kv_num_heads": str(attributes["kv_num_heads"]),
        "scale": repr(float(attributes.get("scale", 0.0))),
        "dtype": DTYPES[str(tensors["query"].dtype)],
    }


def write(path):
    metadata = {
        "format": "heed-onnx-linear-cases-1",
        "description":
            "Backend cases of the ONNX operator LinearAttention, as the package "
            "makes them, in another file format: its inputs, attributes and "
            "outputs under their own names.",
        "package": f"onnx {VERSION}",
        "license": "Apache-2.0",
    }
    tensors = []
    count = 0
    with warnings.catch_warnings():
        # Cases of other operators, which the package makes as well.
        warnings.simplefilter("ignore")
        tests = collect_testcases("LinearAttention")
    for test in tests:
        # The same tensors; the model is the operator's definition.
        if test.name.endswith("_expanded"):
            continue
        name = test.name.removeprefix(PREFIX)
        try:
            arrays, text = read(test)
        except CaseError as error:
            raise CaseError(f"{test.name} {error}")
        metadata |= {f"{name}.{key}": value for key, value in text.items()}
        tensors += [(f"{name}.{key}", array.astype(np.float32))
                    for key, array in arrays.items()]
        count += 1
    partial = path.with_name(path.name + ".partial")
    try:
        write_safetensors(partial, tensors, metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Turn the ONNX backend cases for LinearAttention into a "
                    "safetensors file.")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="safetensors file to write")
    args = parser.parse_args(argv)
    if onnx.__version__ != VERSION:
        print(f"onnx_linear_cases: needs onnx {VERSION}, not "
              f"{onnx.__version__}", file=sys.stderr)
        return 1
    try:
        count = write(args.out)
    except (CaseError, ValueError, OSError) as error:
        print(f"onnx_linear_cases: {error}", file=sys.stderr)
        return 1
    data = args.out.read_bytes()
    print(f"wrote {args.out}: {count} cases, {len(data)} bytes, "
          f"SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
