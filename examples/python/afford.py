#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Which attention can a model afford?
#
# `pip install .`, then this, as a notebook or as a program:
# `python examples/python/afford.py [CAPTURED.safetensors [REPORT.html]]`.
#
# A cheaper attention keeps some of the pairs of tokens. What that costs depends on the
# model and on the text: so compare on your own. `heed capture MODEL --text FILE --layers
# 2,10 --out mine.safetensors` makes the file; without one, the sample that comes with
# the package serves, SmolLM2-135M reading Moby Dick.

# %%
import sys

import heed

arguments = [] if "ipykernel" in sys.modules else sys.argv[1:]
INPUT = arguments[0] if arguments else None
REPORT = arguments[1] if len(arguments) > 1 else None
VARIANTS = ["window_sink:window=64,256", "quest:token_budget=128,512"]
TOKENS = 1024

# %%
table = heed.compare(
    input=INPUT, variants=VARIANTS, options=["--tokens", TOKENS], repeats=3
)
print(f"{'variant':45} {'time ms':>8} {'mass':>6} {'error':>8}")
for row in table:
    mark = "*" if row["pareto"] else ""
    print(
        f"{row['name']:45} {1e3 * row['time']:8.2f} {row['mass_mean']:6.3f} "
        f"{row['rel_l2']:8.1e} {mark}"
    )
print("* nothing here is faster and as accurate")

# %% [markdown]
# `mass` is the share of the exact attention's weight that was kept, `error` how far the
# output is off, relative. Each result was checked before it was timed. What stands on
# the frontier, from the cheapest on:

# %%
frontier = sorted((row for row in table if row["pareto"]), key=lambda row: row["time"])
longest = max(row["time"] for row in frontier)
for row in frontier:
    bar = "#" * max(1, round(40 * row["time"] / longest))
    print(f"{row['name']:45} {row['rel_l2']:8.1e} {bar}")

# %% [markdown]
# In a notebook the comparison shows its report: the frontier as a picture, layers and
# heads.

# %%
if REPORT:
    with open(REPORT, "w") as file:
        file.write(table.html)
    print("the report:", REPORT)
table
