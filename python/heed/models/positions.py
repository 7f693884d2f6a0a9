# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed positions`: what a model's rotary positions are for, and how far they carry.

What tells attention the order of tokens; what a trained model loses where its
positions are shifted, scaled, permuted or removed; and losses beyond the length that
it was trained on, with its positions stretched by linear, NTK and YaRN scaling.
"""

import shlex

import numpy as np

import heed
from heed.models import data, moved, network, options as command, order, results
from heed.models import runs, stretch, written
from heed.models.errors import InputError, run_command
from heed.models.rotary import Rotary, Turn

FORMAT = 1  # of results: part of their keys
PARTS = ("order", "turns", "length")


class Study:
    """The cases of a run, by part and name; each is measured once and stored."""

    def __init__(self, model, text, options, store):
        self.model, self.options, self.store = model, options, store
        self.rotary = Rotary(model)
        self.preset, self.not_measured = moved.PRESETS[options.preset], {}
        self._before = None
        self.cases = {}  # (part, name): (what it depends on, function)
        if "order" in options.parts:
            self._add_order(text)
        if "turns" in options.parts:
            self._add_turns(text)
        if "length" in options.parts:
            self._add_length(text)

    def _ids(self, text, tokens):
        ids = self.model.prefix + self.model.encode(text)
        if len(ids) < tokens:
            raise InputError(
                f"--text {self.options.text}: has {len(ids)} tokens, fewer than "
                f"{tokens}"
            )
        return ids[:tokens]

    def _texts(self, text, tokens):
        """As many texts of so many tokens as the preset has tokens, at least one."""
        first = self._ids(text, tokens)
        rest, size = self.model.encode(text), tokens - len(self.model.prefix)
        count = min(max(self.preset["longest"] // tokens, 1), len(rest) // size)
        others = range(size, count * size, size)
        return [first] + [self.model.prefix + rest[i : i + size] for i in others]

    def _add_order(self, text):
        ids = self._ids(text, self.preset["pieces"][1])
        for name, measure in (("layers", order.of_layers), ("depth", order.by_depth)):
            self.cases["order", name] = ids, lambda measure=measure: measure(
                self.model, self.rotary, ids, np.random.default_rng(self.options.seed)
            )

    def _add_turns(self, text):
        asked = moved.Asked(self.model, text, self.preset, self.options.seed)
        seen = asked.seen()

        def measured(turn):
            with self.rotary.by(turn):
                return asked.measure()

        def measure(turn):
            # By heed's tables too, so that changes are those of the turn alone.
            if self._before is None:
                self._before = measured(Turn())
            now = self._before if turn == Turn() else measured(turn)
            return moved.changes(now, self._before)

        for name, turn in moved.turns(self.preset, self.options.seed).items():
            self.cases["turns", name] = seen, lambda turn=turn: measure(turn)

    def _add_length(self, text):
        trained = self.options.trained or self.model.max_tokens
        tokens = self.options.tokens or min(4 * trained, self.preset["longest"])
        if tokens < stretch.LEAST * trained:
            self.not_measured["length"] = (
                f"{tokens} tokens are not beyond the {trained} that the model was "
                "trained on: give --tokens, or --preset full"
            )
            return
        if self.rotary.theta is None:
            self.not_measured["length"] = "the model's positions are stretched already"
            return
        texts = self._texts(text, tokens)
        self.length = {"trained": trained, "tokens": tokens, "texts": len(texts)}
        for name in (stretch.CUT, *stretch.scalings(tokens / trained, trained)):
            self.cases["length", name] = [texts, trained], lambda name=name: (
                stretch.measure(self.model, self.rotary, texts, trained, name)
            )

    def key(self, part, name):
        seen = results.key_of(self.cases[part, name][0])
        parts = [FORMAT, heed.__version__, self.model.sha256, part, name, seen]
        return results.key_of(parts + [self.options.seed])

    def run(self, progress):
        for (part, name), (_, measure) in self.cases.items():
            key = self.key(part, name)
            if self.store.find(key):
                continue
            numbers = measure()
            self.store.append(
                {
                    "key": key,
                    "part": part,
                    "name": name,
                    "status": "OK",
                    "numbers": numbers,
                    "time": runs.now(),
                }
            )
            progress(f"{part}: {name}")

    def result(self):
        """What the parts found, a dict of each."""
        found = {part: {} for part in PARTS}
        for part, name in self.cases:
            found[part][name] = self.store.find(self.key(part, name))["numbers"]
        summary = {}
        if found["order"]:
            summary["order"] = found["order"]
        if found["turns"]:
            summary["turns"] = [{"name": n, **v} for n, v in found["turns"].items()]
        if found["length"]:
            rows = stretch.summary(
                found["length"], self.length["tokens"], self.length["trained"]
            )
            summary["length"] = {**self.length, "rows": rows}
        return {**summary, "not_measured": self.not_measured}


# By part: what a result's numbers hold.
_FIELDS = {
    "order": (("tokens", int),),
    "turns": tuple(
        (f"{what}_change", float) for what in ("loss", "needle", "induction")
    ),
    "length": (("blocks", list),),
}


def wrong_in(entry):
    """What in a line of results is missing or of another type, or None."""
    if isinstance(entry, dict) and isinstance(entry.get("run"), dict):
        return None
    if not isinstance(entry, dict):
        return "no object"
    for name in ("key", "part", "name", "status"):
        if not isinstance(entry.get(name), str):
            return name
    if entry["part"] not in _FIELDS:
        return "part"
    numbers = entry.get("numbers")
    for name, kind in _FIELDS[entry["part"]]:
        if not isinstance(numbers, dict) or not isinstance(numbers.get(name), kind):
            return f"numbers.{name}"
    return None


def text_table(result):
    lines = [result["run"]["model"]]
    if "order" in result:
        lines += order.lines_of(result["order"])
    if "turns" in result:
        lines += moved.lines_of(result["turns"])
    if "length" in result:
        lines += stretch.lines_of(result["length"])
    for part, why in result["not_measured"].items():
        lines.append(f"{part}: not measured: {why}")
    return "\n".join(lines)


def parse(argv):
    parser = command._Parser(
        prog="heed positions",
        description="What tells a model's attention the order of tokens, what the "
        "model loses where its positions are changed, and how far beyond its trained "
        "length they carry it.",
    )
    command.add_common(parser)
    count = command.whole_number(8)
    parser.add_argument("--preset", choices=moved.PRESETS, default="quick")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="LIST")
    parser.add_argument(
        "--trained",
        type=count,
        metavar="N",
        help="tokens that the model was trained on, where its configuration errs",
    )
    parser.add_argument("--out", default="positions.jsonl", metavar="FILE")
    parser.add_argument("--json", metavar="FILE", help="writes the tables")
    parser.add_argument("--fresh", action="store_true", help="forgets earlier results")
    options = parser.parse_args(argv)
    options.parts = options.parts.split(",")
    command.refuse_repeated("--parts", options.parts)
    for part in options.parts:
        if part not in PARTS:
            raise InputError(f"--parts {part}: is none of {', '.join(PARTS)}")
    options.text = command.one_text(options.text)
    return options


def run(argv):
    options = parse(argv)
    label, text, sha256 = data.read_text(options.text)
    if options.json is not None:
        written.check("--json", options.json)
    store = results.Store(options.out, options.fresh, wrong_in)
    try:
        network.keep_memory()
        model = network.load(options.model, options.threads)
        progress = runs.progress(options.quiet)
        study = Study(model, text, options, store)
        header = {
            "command": "heed positions " + shlex.join(argv),
            "format": FORMAT,
            "preset": options.preset,
            "model": model.name,
            "model_sha256": model.sha256,
            "text": label,
            "text_sha256": sha256,
            "threads": options.threads,
            "cpu": runs.cpu_name(),
            "versions": network.versions(),
            "time": runs.now(),
        }
        store.append({"run": header})
        study.run(progress)
        result = {"run": header, **study.result()}
    finally:
        store.close()
    if options.json:
        written.write("--json", options.json, result, indent=1)
    print(text_table(result))
    return 0


def main(argv):
    return run_command(
        "positions", run, argv, interrupted="interrupted: the same command goes on"
    )
