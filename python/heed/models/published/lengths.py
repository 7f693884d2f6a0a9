# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""CAB and MInference: from what length cheaper attention pays."""

import numpy as np

import heed
from heed.models import runs
from heed.models.published.bar import (
    DIRECTION,
    NOT_SEEN,
    REDONE,
    Bar,
    Number,
    Unable,
)

CAB = {"performer": 2361, "cosformer": 2539, "window_sink": 4195}
PROBLEM = "b1_h1_d64_q256_k256_f32_causal"
LENGTHS = (256, 512, 1024, 2048, 4096)
REPEATS = 3
SPARSE = "vertical_slash"
AT = "mass=0.95"
# Results of `heed compare --at mass=0.95` at many lengths, of a layer in the middle.
EVEN = ("even.json", "even_10.json")
LAYER = 2  # of the captured ones: in the middle
EARLIEST, LATEST = (
    10_000,
    50_000,
)  # published: slower at the first, faster at the second
LONG = 16384  # tokens of random numbers, at which the share of choosing is taken
CHOOSING = 0.25
CHOOSE = ("estimate", "select", "build")


def crossings(found, names):
    """{variant: {"crosses", "length", "shortest", "longest"}} of a sweep of lengths.

    length: None where it does not cross; 0 where it is faster at the first length.
    """
    read = {}
    for row in found["sweep"]["rows"]:
        name = row["name"].split(":")[0]
        if name not in names:
            continue
        first = row["efficiency"].startswith("from the first")
        length = row["efficiency_length"]
        read[name] = {
            "spec": row["name"],
            "crosses": first or length is not None,
            "length": 0 if first else length,
            "shortest": row["efficiency_shortest"],
            "longest": row["efficiency_longest"],
        }
    missing = [name for name in names if name not in read]
    if missing:
        raise KeyError(missing[0])
    return {
        "lengths": found["sweep"]["tokens"],
        "cpu": found["environment"]["cpu"],
        "threads": found["run"]["threads"],
        "variants": read,
    }


def _compare(variants, lengths, *options, **inputs):
    options = ["--tokens", ",".join(map(str, lengths)), *options]
    try:
        made = heed.compare(
            variants=variants, threads=1, repeats=REPEATS, options=options, **inputs
        )
    except FileNotFoundError as error:
        raise Unable(
            f"needs the tool heed: {error.strerror}: {error.filename}"
        ) from None
    return made.result


def measure_linear(context):
    read = lambda found: crossings(found, CAB)
    taken = context.folders.take("lengths.json", read)
    if taken:
        return taken
    context.progress("lengths of linear variants")
    return read(_compare(list(CAB), LENGTHS, problem=PROBLEM))


def judge_linear(ours):
    found = ours["variants"]
    if not all(found[name]["crosses"] for name in CAB):
        return NOT_SEEN
    no_later = all(found[name]["length"] <= CAB[name] for name in CAB)
    return REDONE if no_later else DIRECTION


def _length(what, published, found):
    """A crossing as a number; its error is half of what both spreads leave."""
    ends = (found["shortest"], found["longest"])
    error = (ends[1] - ends[0]) / 2 if None not in ends and found["length"] else None
    return Number(what, published, found["length"], error)


def numbers_linear(ours):
    return [
        _length(
            f"tokens from which {name} pays (0: at {ours['lengths'][0]} already)",
            f"{published:,}",
            ours["variants"][name],
        )
        for name, published in CAB.items()
    ]


def measure_sparse(context):
    read = lambda found: crossings(found, [SPARSE])
    takes = (context.folders.take(name, read) for name in EVEN)
    found = next((taken for taken in takes if taken), None)
    if not found:
        layers = context.captured(LENGTHS[-1])
        layer, kept, arguments = layers[min(LAYER, len(layers) - 1)]
        lengths = [n for n in LENGTHS if n <= kept[0].shape[2]]
        if len(lengths) < 2:
            raise Unable(f"two lengths from {LENGTHS[0]} tokens on need --tokens")
        context.progress(f"lengths of {SPARSE}, layer {layer}")
        tensors = dict(zip("qkv", (x[0].transpose(0, 1) for x in kept)))
        tensors.update({name: arguments[name] for name in ("softmax_scale", "softcap")})
        variants, left = [f"{SPARSE}:slash_size=256"], arguments["window_size"][0]
        found = read(
            _compare(variants, lengths, "--at", AT, window_left=left, **tensors)
        )
    choosing = choosing_share(context.seed)
    return {**found, "choosing": choosing, "choosing_cpu": runs.cpu_name()}


def choosing_share(seed):
    """Of the time of vertical-slash over random numbers: what goes to choosing."""
    rng = np.random.default_rng(seed)
    q, k, v = rng.standard_normal((3, 1, LONG, 1, 64), np.float32)
    run = heed.run_variant(SPARSE, q, k, v, causal=True, record=False)
    return sum(run.phases[name] for name in CHOOSE) / sum(run.phases.values())


def judge_sparse(ours):
    found = ours["variants"][SPARSE]
    early = found["crosses"] and found["length"] <= LATEST
    cheap = ours["choosing"] < CHOOSING
    return REDONE if early and cheap else DIRECTION if early or cheap else NOT_SEEN


def numbers_sparse(ours):
    # Lengths that were taken from a file can be another CPU's.
    cpu = ours.get("choosing_cpu", ours["cpu"])
    on = "" if cpu == ours["cpu"] else f", on {cpu}"
    return [
        _length(
            f"tokens from which {SPARSE} pays at {AT}",
            f"between {EARLIEST:,} and {LATEST:,}",
            ours["variants"][SPARSE],
        ),
        Number(
            f"share of choosing at {LONG:,} tokens{on}",
            "0.3 at 10,000",
            ours["choosing"],
        ),
    ]


_TIME = "a time: another run, or another machine, gives another"

BARS = (
    Bar(
        name="linear_lengths",
        title="From what length linear and local attention pay",
        source="Zhang et al. 2023 (CAB), arXiv:2210.07661, efficiency lengths of time",
        rule="redone: performer, cosFormer and a window each pay from no later a length "
        "than published; direction only: each pays from some length on",
        differences=(
            "published of a GPU, over unfused attention in PyTorch; here of one thread of a "
            "CPU, over fused attention, causal, one head of 64",
            "settings are each implementation's own",
            _TIME,
        ),
        measure=measure_linear,
        judge=judge_linear,
        numbers=numbers_linear,
        files=("lengths.json",),
        needs_model=False,
        timed=True,
    ),
    Bar(
        name="sparse_length",
        title="From what length a sparse prompt pays",
        source="Jiang et al. 2024 (MInference), arXiv:2407.02490: times of its repository",
        rule="redone: vertical-slash pays from 50,000 tokens or fewer, and less than a "
        "quarter of its time goes to choosing at 16,384; direction only: one of both",
        differences=(
            "published of a whole model on an A100 with a pattern chosen for each head; "
            "here of attention alone on a CPU, one pattern, at 0.95 of the attention kept",
            "the share of choosing is taken over random numbers, at default sizes",
            _TIME,
        ),
        measure=measure_sparse,
        judge=judge_sparse,
        numbers=numbers_sparse,
        files=EVEN,
        timed=True,
    ),
)
