#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Holds a run of `heed eval` to others of the same model, text and settings.

usage: same_eval.py NEW.json KEPT.json...

Both are written by --json. Only times may depend on the machine, but for what the
last bits of a model's products decide: numbers may differ by half of their own
error. A variant that only one of them has says nothing.
"""

import json
import sys

SAME = ("model_sha256", "tokens", "length", "documents", "seeds", "format")


def numbers_of(row):
    """name: (number, its error)."""
    found = {}
    for text, lm in row["lm"].items():
        if row["spec"] == "exact":
            found[f"{text} nll"] = lm["nll"], lm["nll_error"]
        else:
            found[f"{text} kld"] = lm["kld"], lm["kld_error"]
            found[f"{text} ln_ratio"] = lm["ln_ratio"], lm["ln_ratio_error"]
    for name, task in row["tasks"].items():
        of_one = 1 / (2 * task["documents"])  # where all documents agree
        found[f"{name} accuracy"] = task["accuracy"], task["accuracy_error"] or of_one
    return found


def compare(new, kept):
    """Sentences on what differs, and how many numbers were compared."""
    wrong, count = [], 0
    others = {row["spec"]: row for row in kept["rows"]}
    for row in new["rows"]:
        other = others.get(row["spec"])
        if other is None:
            continue
        if row["refused"] or other["refused"]:
            if row["refused"] != other["refused"]:
                wrong.append(f"{row['spec']}: {row['refused']}, not {other['refused']}")
            continue
        want = numbers_of(other)
        for name, (number, error) in numbers_of(row).items():
            if name not in want:
                continue
            count += 1
            if not abs(number - want[name][0]) <= max(error, want[name][1]) / 2:
                wrong.append(f"{row['spec']}: {name} {number:.5g}, not {want[name][0]:.5g}")
    return wrong, count


def main(paths):
    if len(paths) < 2:
        sys.exit(__doc__)
    new, *kept = (json.load(open(path, encoding="utf-8")) for path in paths)
    total = 0
    for path, run in zip(paths[1:], kept):
        if any(new["run"][name] != run["run"][name] for name in SAME):
            print(f"{path}: another model or other settings")
            continue
        wrong, count = compare(new, run)
        if wrong:
            sys.exit(f"{path} says otherwise:\n  " + "\n  ".join(wrong))
        print(f"{path}: {count} numbers agree")
        total += count
    if not total:
        sys.exit("same_eval: nothing was compared")


if __name__ == "__main__":
    main(sys.argv[1:])
