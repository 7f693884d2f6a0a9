#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Turn the ONNX backend cases for Attention into one safetensors file.

Each comes with the problem string and the masks that say to heed what it asks
for. README.md beside this file has the setup; data/README.md describes the
output.
"""

import argparse
import hashlib
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

from tensor_file import write_safetensors

# What data/README.md has the hash of.
VERSION = "1.23.2"
PREFIX = "test_attention_"

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value",
          "nonpad_kv_seqlen")
OUTPUTS = ("Y", "present_key", "present_value", "qk_matmul_output")
ATTRIBUTES = {"q_num_heads", "kv_num_heads", "scale", "softcap", "is_causal",
              "qk_matmul_output_mode", "left_window_size",
              "right_window_size", "softmax_precision"}
DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


class CaseError(Exception):
    """A case that this script does not understand."""


@dataclass
class Case:
    attributes: dict
    inputs: dict  # array by name
    outputs: dict


@dataclass
class Read:
    """A case in heed's terms."""
    problem: str
    tensors: dict  # by name: query, key, value, out, mask, scores
    text: dict  # metadata by name: mask, seqlens_k, causal_offset, scores


def case_of(test):
    """The one Attention node of a backend test and its data."""
    graph = test.model.graph
    if [node.op_type for node in graph.node] != ["Attention"]:
        raise CaseError("is not one Attention node")
    node = graph.node[0]

    # Data come in the graph's order; the node's order says what each is. A name
    # left empty is an argument left out.
    def arrays(values, data, given, names):
        by_name = {value.name: np.asarray(array)
                   for value, array in zip(values, data)}
        return {name: by_name[own] for own, name in zip(given, names) if own}

    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute)
                  for attribute in node.attribute}
    unknown = set(attributes) - ATTRIBUTES
    if unknown:
        raise CaseError(f"has the unknown attributes {sorted(unknown)}")
    inputs, outputs = test.data_sets[0]
    return Case(attributes, arrays(graph.input, inputs, node.input, INPUTS),
                arrays(graph.output, outputs, node.output, OUTPUTS))


def by_head(array, heads):
    """[batch, heads, seqlen, head_dim] of either layout."""
    if array.ndim == 4:
        return array
    batch, seqlen, width = array.shape
    return array.reshape(batch, seqlen, heads, width // heads).transpose(
        0, 2, 1, 3)


def mask_of(mask, seqlen_k):
    """A mask of any rank as [batch, heads, seqlen_q, seqlen_k], 1 where it
    repeats. One that is shorter than the keys hides the rest."""
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    if mask.shape[3] not in (1, seqlen_k):
        hidden = False if mask.dtype == bool else -np.inf
        short = seqlen_k - mask.shape[3]
        mask = np.pad(mask, [(0, 0)] * 3 + [(0, short)],
                      constant_values=hidden)
    return mask


def numbers(values):
    return ",".join(str(int(value)) for value in values)


def read(case):
    """A Case as a Read."""
    inputs, attributes = case.inputs, case.attributes
    query = inputs["Q"]
    heads = attributes.get("q_num_heads") or query.shape[1]
    kv_heads = attributes.get("kv_num_heads") or inputs["K"].shape[1]
    key = by_head(inputs["K"], kv_heads)
    value = by_head(inputs["V"], kv_heads)
    past = 0
    if "past_key" in inputs:
        # A cache is the keys before; the positions of queries follow it.
        past = inputs["past_key"].shape[2]
        key = np.concatenate([inputs["past_key"], key], axis=2)
        value = np.concatenate([inputs["past_value"], value], axis=2)
        for own, name in ((key, "present_key"), (value, "present_value")):
            if not np.array_equal(own, case.outputs[name]):
                raise CaseError(f"has another {name}")
    seqlen_q = by_head(query, heads).shape[2]
    seqlen_k = key.shape[2]
    tensors = {"query": query, "key": key, "value": value,
               "out": case.outputs["Y"]}
    if "past_key" not in inputs:
        tensors["key"], tensors["value"] = inputs["K"], inputs["V"]
    text = {}

    causal = attributes.get("is_causal", 0) == 1
    left = attributes.get("left_window_size", -1)
    right = attributes.get("right_window_size", -1)
    placed = causal or left >= 0 or right >= 0
    if "nonpad_kv_seqlen" in inputs:
        seqlens = inputs["nonpad_kv_seqlen"]
        text["seqlens_k"] = numbers(seqlens)
        if placed:
            text["causal_offset"] = numbers(seqlens - seqlen_q)
    if "attn_mask" in inputs:
        mask = mask_of(inputs["attn_mask"], seqlen_k)
        text["mask"] = "mask" if mask.dtype == bool else "bias"
        tensors["mask"] = mask
    if "qk_matmul_output" in case.outputs:
        text["scores"] = str(attributes.get("qk_matmul_output_mode", 0))
        tensors["scores"] = case.outputs["qk_matmul_output"]

    problem = f"b{query.shape[0]}_h{heads}"
    if kv_heads != heads:
        problem += f"_kv{kv_heads}"
    problem += f"_d{key.shape[3]}"
    if value.shape[3] != key.shape[3]:
        problem += f"_dv{value.shape[3]}"
    problem += f"_q{seqlen_q}_k{seqlen_k}_{DTYPES[str(query.dtype)]}"
    if causal:
        problem += "_causal"
    if placed and "nonpad_kv_seqlen" not in inputs:
        # Without a cache the first row stands at the first key.
        problem += f"_off{past}"
    for name, size in (("wl", left), ("wr", right)):
        if size >= 0:
            problem += f"_{name}{size}"
    for field, name in (("cap", "softcap"), ("scale", "scale")):
        if attributes.get(name, 0) != 0:
            number = np.format_float_positional(np.float32(attributes[name]),
                                                trim="-")
            problem += f"_{field}{number}"
    return Read(problem, tensors, text)


def read_all():
    """{name: Read} of every case."""
    made = {}
    with warnings.catch_warnings():
        # Cases of other operators, which the package makes as well.
        warnings.simplefilter("ignore")
        tests = collect_testcases("Attention")
    for test in tests:
        # The same tensors; the model is the operator's definition.
        if test.name.endswith("_expanded"):
            continue
        try:
            made[test.name.removeprefix(PREFIX)] = read(case_of(test))
        except CaseError as error:
            raise CaseError(f"{test.name} {error}")
    return made


def write(path, made):
    metadata = {
        "format": "heed-onnx-cases-2",
        "description":
            "Backend cases of the ONNX operator Attention, as the package makes "
            "them, in another file format. CASE.query, .key and .value go in, "
            ".out comes out; of three dimensions [batch, seqlen, heads * "
            "head_dim], of four [batch, heads, seqlen, head_dim]. "
            "CASE.problem is heed's problem string for it.",
        "package": f"onnx {VERSION}",
        "license": "Apache-2.0",
    }
    tensors = []
    for name, case in made.items():
        metadata[f"{name}.problem"] = case.problem
        metadata |= {f"{name}.{key}": text for key, text in case.text.items()}
        tensors += [(f"{name}.{key}", array.astype(np.float32))
                    for key, array in case.tensors.items()]
    partial = path.with_name(path.name + ".partial")
    try:
        write_safetensors(partial, tensors, metadata, finite=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Turn the ONNX backend cases for Attention into a "
                    "safetensors file.")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="safetensors file to write")
    args = parser.parse_args(argv)
    if onnx.__version__ != VERSION:
        print(f"onnx_cases: needs onnx {VERSION}, not {onnx.__version__}",
              file=sys.stderr)
        return 1
    try:
        made = read_all()
        write(args.out, made)
    except (CaseError, ValueError, OSError) as error:
        print(f"onnx_cases: {error}", file=sys.stderr)
        return 1
    data = args.out.read_bytes()
    print(f"wrote {args.out}: {len(made)} cases, {len(data)} bytes, "
          f"SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
