# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Three questions of a model, answered by rules that were there before the numbers.

Each answer is a dict: question, word (one, or a few), says (sentences with numbers
of the results alone) and rule. "undecided" stands where bounds do not decide, or
where nothing was measured that could, "not measured" where a result is missing.
"""

# Relative, so that they can be imported without the package heed.
from .cost import crossing, crossings, quadratic
from .facts import effects, store_or_retrieve
from .heads import curves, heads_needed, trained

__all__ = [
    "all_of",
    "crossing",
    "crossings",
    "curves",
    "effects",
    "heads_needed",
    "quadratic",
    "store_or_retrieve",
    "trained",
]


def all_of(results):
    """The three answers; results: by name, as inputs.read() gives them."""
    return [
        quadratic(results.get("eval"), results.get("lengths")),
        heads_needed(results.get("heads"), results.get("head_count")),
        store_or_retrieve(results.get("facts")),
    ]
