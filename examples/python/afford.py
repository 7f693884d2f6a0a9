#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""What a cheaper attention costs, on queries and keys of a real model.

    pip install . && python examples/python/afford.py [REPORT.html]

Takes the sample that comes with the package, SmolLM2-135M reading Moby Dick.
Give heed.compare q, k and v of your own model instead.
"""

import sys

import heed

VARIANTS = ["window_sink:window=64,256", "quest:token_budget=128,512"]

table = heed.compare(variants=VARIANTS, options=["--tokens", "1024"], repeats=3)
print(f"{'variant':45} {'time ms':>8} {'mass':>6} {'error':>8}")
for row in table:
    mark = "*" if row["pareto"] else ""
    print(
        f"{row['name']:45} {1e3 * row['time']:8.2f} {row['mass_mean']:6.3f} "
        f"{row['rel_l2']:8.1e} {mark}"
    )
print("* nothing here is faster and as accurate")
if len(sys.argv) > 1:
    with open(sys.argv[1], "w") as file:
        file.write(table.html)
    print("the report:", sys.argv[1])
