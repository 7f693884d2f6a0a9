# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of `heed eval`: presets, and what is said beside them."""

import argparse
import os
import re

from heed.models import data, tasks
from heed.models.errors import InputError

_FEW = [
    "window_sink:window=256:sink=4",
    "block_topk:total_blocks=8",
    "quest:token_budget=512",
    "window_linear:window=256",
]
_DOZEN = [
    "window_sink:window=256,512:sink=0,4",
    "window_sink:window=1024:sink=4",
    "block_topk:total_blocks=4,8,16",
    "quest:token_budget=512",
    "vertical_slash:vertical_size=128:slash_size=256",
    "xattention:threshold=0.9",
    "oracle_topk:total_blocks=8",
    "random_blocks:total_blocks=8",
    "linear_elu",
    "window_linear:window=256",
    "kv_int8",
    "kv_int4",
]

MOST_THREADS = 1024  # more than any CPU has; the system refuses far more

# documents: of each task, by seed; length: tokens of one.
PRESETS = {
    "quick": {
        "texts": ["moby"],
        "tokens": 2048,
        "variants": _FEW,
        "tasks": ["lm", "needle", "induction"],
        "documents": {"needle": 2, "induction": 2},
        "length": 1024,
        "seeds": 1,
    },
    "standard": {
        "texts": ["moby", "code"],
        "tokens": 2048,
        "variants": _DOZEN,
        "tasks": ["lm", "needle", "passkey", "kv", "induction"],
        "documents": {"needle": 3, "passkey": 4, "kv": 3, "induction": 2},
        "length": 1024,
        "seeds": 1,
    },
    "full": {
        "texts": ["moby", "code"],
        "tokens": 4096,
        "variants": _DOZEN,
        "tasks": ["lm", "needle", "passkey", "kv", "induction"],
        "documents": {"needle": 6, "passkey": 8, "kv": 6, "induction": 4},
        "length": 2048,
        "seeds": 3,
    },
}


def seconds_of(text):
    """Seconds of "90", "90s", "10m" or "1h". Raises InputError for others."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found or float(found[1]) == 0:
        raise InputError(f"--time-budget {text}: is no time as 90s, 10m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(message)


def whole_number(low, high=None):
    """A type of argparse: whole numbers from low on, to high where there is one."""

    def read(text):
        if re.fullmatch(r"-?[0-9]{1,18}", text):
            value = int(text)
            if value >= low and (high is None or value <= high):
                return value
        to = f"from {low} on" if high is None else f"of {low} to {high}"
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number {to}")

    return read


def lengths_of(text, preset):
    """Lengths of a list such as "512,1024", the shortest first."""
    if text is None:
        return [preset]
    read = whole_number(1)
    try:
        found = [read(part) for part in text.split(",")]
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--length: {error}") from None
    refuse_repeated("--length", found)
    return sorted(found)


def add_common(parser):
    """Options of every command that runs a model."""
    parser.add_argument(
        "model",
        nargs="?",
        default=data.DEFAULT_MODEL,
        metavar="MODEL",
        help="folder or name of a causal model of Hugging Face transformers "
        f"(default: {data.DEFAULT_MODEL}, of the package {data.MODEL_PACKAGE})",
    )
    count = whole_number(1)
    parser.add_argument("--tokens", type=count, metavar="N", help="of each text")
    parser.add_argument("--seed", type=whole_number(0), default=1, metavar="N")
    parser.add_argument(
        "--threads", type=whole_number(1, MOST_THREADS), default=2, metavar="N"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress line")
    texts = ", ".join(data.TEXTS)
    parser.add_argument(
        "--text",
        action="append",
        metavar="FILE",
        help=f"UTF-8 file, or one of {texts}; may be repeated",
    )


def refuse_repeated(option, values, same=lambda value: value):
    """Raises InputError for a value that is given twice."""
    seen = set()
    for value in values:
        if same(value) in seen:
            raise InputError(f"{option} {value}: is given twice")
        seen.add(same(value))


def one_text(names):
    """The text of a command that takes one. Raises InputError for several."""
    if len(names or []) > 1:
        raise InputError("--text: takes one text here")
    return (names or ["moby"])[0]


def refuse_repeated_texts(names):
    """Raises InputError for a text that is given twice, by whatever path."""
    refuse_repeated(
        "--text", names, lambda t: t if t in data.TEXTS else os.path.realpath(t)
    )


def parse(argv):
    """The settings of a run, a namespace; presets filled in. Raises InputError."""
    parser = _Parser(
        prog="heed eval",
        description="What variants of attention cost a language model: its losses, "
        "and what it finds in its context, beside the time of attention.",
    )
    add_common(parser)
    parser.add_argument(
        "--variants",
        nargs="+",
        metavar="NAME:KNOB=V,W",
        help="`heed variants` lists them; kv_int8 and kv_int4 are exact attention "
        "over a rounded cache, hedgehog_fitted and ridge_fitted linear attention "
        "with maps fitted to the model; without, the preset's",
    )
    parser.add_argument(
        "--fit-text",
        metavar="FILE",
        help="whose end maps are fitted on (default: code)",
    )
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument(
        "--tasks", metavar="LIST", help="of lm, " + ", ".join(tasks.TASKS)
    )
    parser.add_argument(
        "--where",
        metavar="PLACES",
        help="the variant's, all others are exact: 'layers 2-', or 'heads FILE' "
        "with a 'layer head' a line",
    )
    parser.add_argument("--dense-layers", metavar="LIST", help="stay exact")
    count = whole_number(1)
    parser.add_argument("--documents", type=count, metavar="N", help="of each task")
    parser.add_argument(
        "--length", metavar="N,M", help="tokens of a document; of each length as many"
    )
    parser.add_argument(
        "--by-layer",
        action="store_true",
        help="each variant in each layer alone, too: a forward a layer",
    )
    parser.add_argument("--time-budget", metavar="10m", help="begins no case after it")
    parser.add_argument("--out", default="eval.jsonl", metavar="FILE")
    parser.add_argument("--html", metavar="FILE", help="writes a report")
    parser.add_argument("--json", metavar="FILE", help="writes the rows of the table")
    parser.add_argument("--fresh", action="store_true", help="forgets earlier results")
    options = parser.parse_args(argv)
    preset = PRESETS[options.preset]
    options.text = options.text or preset["texts"]
    options.tokens = options.tokens or preset["tokens"]
    options.variants = options.variants or preset["variants"]
    options.lengths = lengths_of(options.length, preset["length"])
    options.length = max(options.lengths)
    options.seeds = preset["seeds"]
    named = options.tasks
    options.tasks = preset["tasks"] if named is None else named.split(",")
    refuse_repeated("--tasks", options.tasks)
    refuse_repeated_texts(options.text)
    unknown = [t for t in options.tasks if t != "lm" and t not in tasks.TASKS]
    if unknown:
        known = ", ".join(tasks.TASKS)
        raise InputError(f"--tasks {unknown[0]}: is none of lm, {known}")
    counts = {**PRESETS["standard"]["documents"], **preset["documents"]}
    asked = [task for task in options.tasks if task != "lm"]
    options.documents = {task: options.documents or counts[task] for task in asked}
    budget = options.time_budget
    options.time_budget = seconds_of(budget) if budget else None
    for name, value, low in (
        ("tokens", options.tokens, 32),
        ("length", min(options.lengths), 256),
    ):
        if value < low:
            raise InputError(f"--{name}: needs to be at least {low}")
    if options.by_layer and "lm" not in options.tasks:
        raise InputError("--by-layer: needs lm among --tasks")
    return options
