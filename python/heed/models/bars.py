# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed bars`: published results, redone: theirs, ours, and a rule that was there first.

Agreement is a finding, not a condition: a bar that is not seen is no error.
"""

import dataclasses
import os
import shlex
import time

import heed
from heed.models import data, network, options as command, results, rows as tables
from heed.models import runs, written
from heed.models.errors import InputError, run_command
from heed.models.published import antidiagonals, context, curves, lengths, precision
from heed.models.published import pruning, recall, retrieval, sinks
from heed.models.published.bar import NOT_COMPARABLE

FORMAT = 1  # of results: part of their keys
LEAST_TOKENS = 64
BARS = {
    bar.name: bar
    for part in (
        sinks,
        pruning,
        retrieval,
        antidiagonals,
        curves,
        recall,
        precision,
        lengths,
    )
    for bar in part.BARS
}


def parse(argv):
    parser = command._Parser(
        prog="heed bars",
        description="Published results on attention, measured here: each with its "
        "number and ours, a rule fixed beforehand, and where the comparison is not like "
        "for like.",
    )
    command.add_common(parser)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these bars")
    parser.add_argument("--list", action="store_true", help="what bars there are")
    parser.add_argument(
        "--folder",
        action="append",
        default=[],
        metavar="DIR",
        help="takes eval.json, heads.json, facts.json and heed compare's lengths.json "
        "and even.json (or even_10.json) from there instead of running them, where they "
        "have what it takes; may be repeated",
    )
    parser.add_argument("--out", default="bars.jsonl", metavar="FILE")
    parser.add_argument(
        "--json", metavar="FILE", help="writes the bars with their labels"
    )
    parser.add_argument("--fresh", action="store_true", help="forgets earlier results")
    options = parser.parse_args(argv)
    options.tokens = options.tokens or 2048
    if options.tokens < LEAST_TOKENS:
        raise InputError(f"--tokens: needs to be at least {LEAST_TOKENS}")
    options.text = command.one_text(options.text)
    if options.only:
        command.refuse_repeated("--only", options.only)
    for name in options.only or ():
        if name not in BARS:
            raise InputError(f"--only {name}: is none of {', '.join(BARS)}")
    options.only = options.only or list(BARS)
    return options


class Bars:
    """The bars of a run, each measured and stored."""

    def __init__(self, options, store, progress):
        label, text, sha256 = data.read_text(options.text)
        self.options, self.store, self.progress = options, store, progress
        self.label, self.text_sha256 = label, sha256
        self.context = context.Context(options, text, sha256, progress)
        self.bars = [BARS[name] for name in options.only]

    def key(self, bar):
        """Of what a bar's numbers depend on."""
        taken = {name: self.context.folders.sha256(name) for name in bar.files}
        parts = [FORMAT, heed.__version__, bar.name, self.options.seed, taken]
        if bar.needs_model:
            parts += [self.context.sha256, self.text_sha256]
        if bar.needs_model and bar.needs_tokens:
            parts.append(self.options.tokens)
        if bar.timed:
            parts.append(runs.cpu_name())
        return results.key_of(parts)

    def result(self, bar):
        """A bar's entry: the one that is there, where it is a number, or a new one."""
        entry = self.store.find(self.key(bar))
        there = entry is not None and entry["status"] == "OK"
        return entry if there else self._measure(bar)

    def _measure(self, bar):
        """Runs a bar and stores it; one that cannot be measured is stored as such."""
        self.progress(bar.title)
        entry = {
            "key": self.key(bar),
            "spec": bar.name,
            "task": "bar",
            "input": self.options.text if bar.needs_model else "drawn",
            "seed": self.options.seed,
            "threads": self.options.threads,
        }
        began = time.perf_counter()
        runs.fill(entry, lambda: (bar.measure(self.context), None))
        entry["cost"] = {"seconds": time.perf_counter() - began}
        self.store.append(entry)
        return entry

    def header(self, argv):
        options = self.options
        return {
            "run": {
                "command": "heed bars " + shlex.join(argv),
                "format": FORMAT,
                "model": options.model,
                "model_sha256": self.context.sha256,
                "text": self.label,
                "text_sha256": self.text_sha256,
                "tokens": options.tokens,
                "seed": options.seed,
                "threads": options.threads,
                "cpu": runs.cpu_name(),
                "processors": os.cpu_count(),
                "left_out": [name for name in BARS if name not in options.only],
                "load": round(os.getloadavg()[0], 1),
                "versions": network.versions(),
                "cases": [self.key(bar) for bar in self.bars],
                "time": runs.now(),
            }
        }


def judged(bar, entry):
    """A bar with what was found and its label, a dict that JSON can hold.

    Raises InputError for an entry whose numbers are not the bar's.
    """
    found = {
        "bar": bar.name,
        "title": bar.title,
        "source": bar.source,
        "rule": bar.rule,
        "not_like_for_like": list(bar.differences),
        "label": NOT_COMPARABLE,
        "reason": entry["reason"],
        "published": "-",
        "ours": None,
        "error": None,
        "numbers": [],
        "measured": entry["accuracy"],
        "seconds": (entry["cost"] or {}).get("seconds"),
    }
    if entry["status"] == "OK":
        try:
            found["label"] = bar.judge(entry["accuracy"])
            lines = bar.numbers(entry["accuracy"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"{bar.name}: the result that is there lacks {error}: give --fresh"
            ) from None
        found["numbers"] = [dataclasses.asdict(line) for line in lines]
        main = found["numbers"][0]
        found.update({name: main[name] for name in ("published", "ours", "error")})
    return found


def text_table(found):
    """The bars as lines of text: label, then theirs and ours."""
    width = max([len("not comparable"), *(len(bar["label"]) for bar in found)])
    lines = []
    for bar in found:
        lines.append(f"{bar['label']:{width}s}  {bar['bar']}: {bar['title']}")
        lines.append(f"{'':{width}s}  {bar['source']}")
        if bar["reason"]:
            lines.append(f"{'':{width}s}  {bar['reason']}")
        for line in bar["numbers"]:
            ours = tables.with_error(line["ours"], line["error"])
            published = f" (published: {line['published']})"
            known = published if line["published"] != "-" else ""
            lines.append(f"{'':{width}s}    {line['what']}: {ours}{known}")
        if taken := (bar["measured"] or {}).get("taken_from"):
            lines.append(f"{'':{width}s}    taken from {taken}")
    return "\n".join(lines)


def list_text():
    """Every bar with its rule and its differences."""
    lines = []
    for bar in BARS.values():
        lines += [f"{bar.name}: {bar.title}", f"  {bar.source}", f"  {bar.rule}"]
        lines += [f"  not like for like: {line}" for line in bar.differences]
        if bar.files:
            lines.append(f"  takes {', '.join(bar.files)}")
    return "\n".join(lines)


def run(argv):
    options = parse(argv)
    if options.list:
        print(list_text())
        return 0
    if options.json:
        written.check("--json", options.json)
    store = results.Store(options.out, options.fresh)
    progress = runs.progress(options.quiet)
    try:
        bars = Bars(options, store, progress)
        store.append(bars.header(argv))
        found = [judged(bar, bars.result(bar)) for bar in bars.bars]
        print(text_table(found))
        if options.json:
            result = {**bars.header(argv), "bars": found}
            written.write("--json", options.json, result)
    finally:
        store.close()
    return 0


def main(argv):
    return run_command(
        "bars", run, argv, interrupted="interrupted: the same command goes on"
    )
