#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Turn the stored ONNX backend cases for Attention into one safetensors file.

Takes those that heed can express, with the problem string that says what each
asks for, and prints the others with the reason. README.md beside this file has
the setup; data/README.md describes the output.
"""

import argparse
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "capture"))
from errors import CaptureError
from tensor_file import write_safetensors

# What data/README.md has the hash of.
VERSION = "1.22.0"
PREFIX = "test_attention_"

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value",
          "nonpad_kv_seqlen")
OUTPUTS = ("Y", "present_key", "present_value", "qk_matmul_output")
ATTRIBUTES = {"q_num_heads", "kv_num_heads", "scale", "softcap", "is_causal",
              "qk_matmul_output_mode"}


class CaseError(Exception):
    """A case that this script does not understand."""


@dataclass
class Case:
    attributes: dict
    inputs: dict  # array by name
    outputs: dict


def read_case(folder):
    """The one Attention node of a case and what is stored for it."""
    graph = onnx.load(folder / "model.onnx").graph
    if [node.op_type for node in graph.node] != ["Attention"]:
        raise CaseError("is not one Attention node")
    node = graph.node[0]

    # The files are numbered in the graph's order; the node's order says what
    # each is. A name left empty is an argument left out.
    def arrays(values, kind, given, names):
        files = {value.name: folder / "test_data_set_0" / f"{kind}_{i}.pb"
                 for i, value in enumerate(values)}
        return {name: onnx.numpy_helper.to_array(onnx.load_tensor(files[own]))
                for own, name in zip(given, names) if own}

    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute)
                  for attribute in node.attribute}
    unknown = set(attributes) - ATTRIBUTES
    if unknown:
        raise CaseError(f"has the unknown attributes {sorted(unknown)}")
    return Case(attributes,
                arrays(graph.input, "input", node.input, INPUTS),
                arrays(graph.output, "output", node.output, OUTPUTS))


def keys_offered(mask, seqlen_k):
    """How many leading keys a mask offers to every row, and no others.

    None where it says anything else. A mask shorter than the keys hides the
    rest.
    """
    if mask.dtype != bool:
        if not np.isin(mask, (0, -np.inf)).all():
            return None
        mask = mask == 0
    hidden = [(0, 0)] * (mask.ndim - 1) + [(0, seqlen_k - mask.shape[-1])]
    mask = np.pad(mask, hidden)
    count = int(mask.reshape(-1, seqlen_k)[0].sum())
    return count if (mask == (np.arange(seqlen_k) < count)).all() else None


def why_not(case):
    """The reason for which heed cannot express a case, or ""; the first one.

    Scores that a case asks for besides (`qk_matmul_output`) are no reason: they
    are left aside and the result is taken.
    """
    inputs = case.inputs
    for name in "QKV":
        if inputs[name].dtype != np.float32:
            return f"tensors of {inputs[name].dtype}"
    if "nonpad_kv_seqlen" in inputs:
        return "a length for each batch entry (`nonpad_kv_seqlen`)"
    if "attn_mask" in inputs:
        seqlen_k = sum(inputs[name].shape[-2] for name in ("past_key", "K")
                       if name in inputs)
        if keys_offered(inputs["attn_mask"], seqlen_k) is None:
            return "numbers added to the scores (`attn_mask`)"
    return ""


def problem(case):
    """The problem string of a case: see lib/io/problem.h.

    Tensors of three dimensions are [batch, seqlen, heads * head_dim], of four
    [batch, heads, seqlen, head_dim].
    """
    if "past_key" in case.inputs:
        raise CaseError("has a cache and may be taken, as no case was")
    query, key, value = (case.inputs[name] for name in "QKV")
    attributes = case.attributes
    if query.ndim == 3:
        heads = attributes["q_num_heads"]
        kv_heads = attributes["kv_num_heads"]
        seqlens = query.shape[1], key.shape[1]
        dims = query.shape[2] // heads, value.shape[2] // kv_heads
    else:
        heads, kv_heads = query.shape[1], key.shape[1]
        seqlens = query.shape[2], key.shape[2]
        dims = query.shape[3], value.shape[3]
    text = f"b{query.shape[0]}_h{heads}"
    if kv_heads != heads:
        text += f"_kv{kv_heads}"
    text += f"_d{dims[0]}"
    if dims[1] != dims[0]:
        text += f"_dv{dims[1]}"
    text += f"_q{seqlens[0]}_k{seqlens[1]}_f32"
    offered = seqlens[1]
    if "attn_mask" in case.inputs:
        offered = keys_offered(case.inputs["attn_mask"], seqlens[1])
    causal = attributes.get("is_causal", 0) == 1
    if offered < seqlens[1]:
        if causal:
            raise CaseError("hides the last keys and is causal, as no case was")
        # Rows that stand beyond the keys, in a window of one, see the sinks
        # alone: what is hidden stays in the tensors.
        text += f"_off{seqlens[1]}_wl0_wr0_sink{offered}"
    if causal:
        # Without a cache the first row stands at the first key.
        text += "_causal_off0"
    for field, name in (("cap", "softcap"), ("scale", "scale")):
        if attributes.get(name, 0) != 0:
            number = np.format_float_positional(np.float32(attributes[name]),
                                                trim="-")
            text += f"_{field}{number}"
    return text


def read_all(folder):
    """Splits the cases into ({name: Case}, {name: reason})."""
    taken, left_out = {}, {}
    for path in sorted(folder.glob(PREFIX + "*")):
        # The same tensors; the model is the operator's definition.
        if path.name.endswith("_expanded"):
            continue
        name = path.name.removeprefix(PREFIX)
        try:
            case = read_case(path)
        except CaseError as error:
            raise CaseError(f"{path.name} {error}")
        reason = why_not(case)
        if reason:
            left_out[name] = reason
        else:
            taken[name] = case
    return taken, left_out


def write(path, taken):
    metadata = {
        "format": "heed-onnx-cases-1",
        "description":
            "Backend cases of the ONNX operator Attention, as stored in the "
            "package, in another file format. CASE.query, .key and .value go "
            "in, .out comes out; of three dimensions [batch, seqlen, heads * "
            "head_dim], of four [batch, heads, seqlen, head_dim]. "
            "CASE.problem is heed's problem string for it.",
        "package": f"onnx {VERSION}",
        "license": "Apache-2.0",
    }
    tensors = []
    for name, case in taken.items():
        metadata[f"{name}.problem"] = problem(case)
        tensors += [(f"{name}.query", case.inputs["Q"]),
                    (f"{name}.key", case.inputs["K"]),
                    (f"{name}.value", case.inputs["V"]),
                    (f"{name}.out", case.outputs["Y"])]
    partial = path.with_name(path.name + ".partial")
    try:
        write_safetensors(partial, tensors, metadata, "f32")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description="Turn the stored ONNX backend cases for Attention into a "
                    "safetensors file.")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="safetensors file to write")
    args = parser.parse_args(argv)
    if onnx.__version__ != VERSION:
        print(f"onnx_cases: needs onnx {VERSION}, not {onnx.__version__}",
              file=sys.stderr)
        return 1
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
    try:
        taken, left_out = read_all(folder)
        write(args.out, taken)
    except (CaseError, CaptureError, OSError) as error:
        print(f"onnx_cases: {error}", file=sys.stderr)
        return 1
    for reason in sorted(set(left_out.values())):
        names = [f"`{n}`" for n, why in left_out.items() if why == reason]
        print(f"| {reason} | {len(names)} | {', '.join(names)} |")
    print(f"{len(left_out)} left out")
    data = args.out.read_bytes()
    print(f"wrote {args.out}: {len(taken)} cases, {len(data)} bytes, "
          f"SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
