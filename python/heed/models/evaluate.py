# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""`heed eval`: what variants of attention cost a language model."""

import os
import sys
import time

from heed.models import cases, data, fitted, network, options as command, places
from heed.models import results, rows, runs, summary, written
from heed.models.errors import InputError, run_command
from heed.report import page as report


def run_cases(evaluation, options):
    """Measures what is missing; returns how many cases the budget left out."""
    began, missing = time.monotonic(), evaluation.missing()
    there = len(evaluation.cases) - len(missing)
    for number, case in enumerate(missing):
        spent = time.monotonic() - began
        if options.time_budget and spent > options.time_budget:
            return len(missing) - number
        if not options.quiet:
            ahead = len(missing) - number
            left = f"~{runs.clock(spent / number * ahead)}" if number else "?"
            print(
                f"[{there + number + 1:3d}/{len(evaluation.cases)}] {case[1]:9s} "
                f"{case[0]}  elapsed {runs.clock(spent)}  left {left}",
                file=sys.stderr,
            )
        evaluation.measure(*case)
    return 0


def run(argv):
    options = command.parse(argv)
    specs = places.expand_all(options.variants)  # before a model is loaded
    for name in options.text:
        data.read_text(name)
    if set(specs) & set(places.FITTED):
        options.fit_text = options.fit_text or fitted.TEXT
        data.read_text(options.fit_text)
    elif options.fit_text:
        raise InputError("--fit-text: none of the variants is fitted")
    if not specs:
        raise InputError("--variants: names none but exact attention")
    for name in ("html", "json"):
        path = getattr(options, name)
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise InputError(f"--{name} {path}: its folder does not exist")
    store = results.Store(options.out, options.fresh)
    try:
        network.keep_memory()
        model = network.load(options.model, options.threads)
        evaluation = cases.Evaluation(model, options, store)
        store.append(evaluation.header(argv))
        left = run_cases(evaluation, options)
        table = rows.rows_of(store.entries)
        print(rows.text_table(table))
        for line in rows.warnings(table):
            print(f"  {line}")
        if options.json:
            written.write("--json", options.json, summary.of(store.entries), indent=1)
        if options.html:
            report.write(options.html, {"eval": summary.of(store.entries)})
        if left:
            print(f"The time budget left out {left} cases: the same command goes on.")
    finally:
        store.close()
    return 0


def main(argv):
    said = "interrupted: the same command goes on"
    return run_command("eval", run, argv, said)
