#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the results in docs/models.md from what is kept in bench/models.

usage: models_page.py write     fills what stands between <!-- name --> and
                                <!-- end --> of the page, from every folder that
                                has the files that they are made of
       models_page.py check     whether that is what write makes
"""

import json
import pathlib
import re
import sys

from model_tables import bars, heads, positions, variants

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "models"
PAGE = ROOT / "docs" / "models.md"


# By block: what makes it, and of which files of a folder.
OF_EVAL = ("eval", "heads")
BLOCKS = {
    "measured": (variants.measured, OF_EVAL),
    "eval": (variants.eval_table, OF_EVAL),
    "verdicts": (variants.verdicts, OF_EVAL),
    "kernel": (variants.kernel_table, OF_EVAL),
    "heads": (heads.head_types, OF_EVAL),
    "fitted": (variants.text_costs, ("fitted",)),
    "dropped": (variants.text_costs, ("dropped",)),
    "positions": (positions.positions_of, ("positions",)),
    "length": (positions.lengths_of, ("positions", "positions_small")),
    "head_count": (heads.head_count, ("head_count",)),
    "bars": (bars.bars_table, ("bars",)),
}


def page(text):
    """The page with its blocks made anew: of each CPU's folder, in their order."""

    def fill(match):
        make, names = BLOCKS[match[1]]
        found = {}
        for folder in sorted(p for p in RESULTS.iterdir() if p.is_dir()):
            files = [folder / f"{name}.json" for name in names]
            if all(file.is_file() for file in files):
                found[folder.name] = [json.loads(file.read_text()) for file in files]
        made = [
            (f"**{name}**\n\n" if len(found) > 1 else "") + make(*results)
            for name, results in found.items()
        ]
        return f"<!-- {match[1]} -->\n\n" + "\n".join(made) + "\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def loose_numbers(text):
    """Numbers with a fraction, or percentages, that no block made."""
    text = re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\d+\.\d+|\d+ ?%", text)


def main(arguments):
    text = PAGE.read_text()
    if arguments == ["write"]:
        PAGE.write_text(page(text))
    elif arguments == ["check"]:
        if text != page(text):
            sys.exit("docs/models.md is not what tools/models_page.py write makes")
        if loose := loose_numbers(text):
            sys.exit(f"docs/models.md: stands in no result: {', '.join(loose)}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
