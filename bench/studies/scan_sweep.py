#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Times scans by chunk length and tile of columns, with three loops over tokens beside
them, draws them into bench/studies/linear and puts them into docs/linear.md.

    bash tools/build.sh release --target heed_bench
    python3 bench/studies/scan_sweep.py "what the CPU is" [build/release/bench/heed_bench]
    python3 bench/studies/scan_sweep.py --draw       of the numbers that are kept

One process, one thread; minutes of a machine that does nothing else. Every
result is held to the recurrence in double before it is timed. No package is needed.
"""
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from linear_pictures import FOLDER, ROOT, WIDTH, panel, write_svg  # noqa: E402

KEPT = FOLDER / "sweep.json"
# What docs/linear.md calls them.
PRIMITIVES = {"decay": "one decay", "vector_decay": "a decay a channel",
              "gated_delta": "gated delta rule"}
LOOPS = {"four_sweeps": "four sweeps", "two_passes": "two passes", "fused": "fused"}
TOKENS, HEADS = 4096, 2
ROUNDS = 9  # each in an order of its own; the best counts
NAME = re.compile(r"(?:token_loop/(?P<loop>\w+)|scan)/(?P<primitive>\w+)/d(?P<dim>\d+)_h\d+_n\d+/"
                  r"\w+/t1(?:/chunk(?P<chunk>\d+)/tile(?P<tile>\d+))?/real_time$")


def measure(bench):
    """Rows of heed_bench: a scan with chunk and tile, one by default, or a loop."""
    info = subprocess.run([bench, "--benchmark_list_tests"], check=True, capture_output=True,
                          text=True).stdout
    default = re.search(r"^scan/decay/d64_h2_n4096/(\w+)/t1/chunk8/", info, re.M)[1]
    names = "|".join(PRIMITIVES)
    case = f"({names})/d(64|128)_h{HEADS}_n{TOKENS}/{default}/t1"
    pattern = f"^(token_loop/[a-z_]+/{case}|scan/{case}(/chunk[0-9]+/tile[0-9]+)?)/real_time$"
    text = subprocess.run(
        [bench, f"--benchmark_filter={pattern}", "--benchmark_min_time=0.02",
         f"--benchmark_repetitions={ROUNDS}", "--benchmark_enable_random_interleaving=true",
         "--benchmark_format=json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    runs = [run for run in json.loads(text)["benchmarks"] if run["run_type"] == "iteration"]
    best = {}
    for run in runs:
        if "error_message" in run:
            sys.exit(f"scan_sweep.py: {run['name']}: {run['error_message']}")
        found = NAME.match(run["name"])
        number = lambda name: int(found[name]) if found[name] else None
        row = {
            "primitive": found["primitive"], "dim": number("dim"), "loop": found["loop"],
            "chunk": number("chunk"), "tile": number("tile"),
            "ns": round(run["best_us"] * 1e3 / (TOKENS * HEADS), 1),
            "peak": round(run["peak_fraction"], 3)}
        if run["name"] not in best or row["ns"] < best[run["name"]]["ns"]:
            best[run["name"]] = row
    return {"target": default, "primitives": PRIMITIVES, "loops": LOOPS, "rounds": ROUNDS,
            "rows": list(best.values())}


def write(data):
    rows = ",\n".join(json.dumps(row) for row in data.pop("rows"))
    KEPT.write_text(f'{json.dumps(data)[:-1]}, "rows": [\n{rows}\n]}}\n')


def draw(rows):
    """A chart a primitive: nanoseconds by chunk, a line a tile; the best loop a level."""
    charts = []
    for primitive, title in PRIMITIVES.items():
        mine = [r for r in rows if r["primitive"] == primitive]
        tiled = [r for r in mine if r["tile"]]
        lines = {f"{tile} columns": [(r["chunk"], r["ns"]) for r in tiled if r["tile"] == tile]
                 for tile in sorted({r["tile"] for r in tiled})}
        chunks = sorted({r["chunk"] for r in tiled})
        loops = [r for r in mine if r["loop"]]
        if loops:
            best = min(loops, key=lambda r: r["ns"])
            lines[f"loop, {LOOPS[best['loop']]}"] = [(c, best["ns"]) for c in chunks]
        # Operations by their formula at the peak: a row's share of its time.
        lines["FMA peak"] = sorted({r["chunk"]: r["ns"] * r["peak"] for r in tiled}.items())
        most = max(ns for points in lines.values() for _, ns in points)
        step = next(s for s in (50, 100, 200, 500, 1000, 2000) if 6 * s >= most)
        ticks = [(float(n), str(n)) for n in range(0, int(most) + step, step)]
        charts.append(panel(f"{title}: ns a token and head", "tokens a chunk",
                            [(c, str(c)) for c in chunks], ticks, lines, False,
                            WIDTH * len(charts)))
    return charts


def main():
    if sys.argv[1:] != ["--draw"]:
        if len(sys.argv) < 2:
            sys.exit(__doc__)
        bench = sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "build/release/bench/heed_bench")
        write({"cpu": sys.argv[1], **measure(bench)})
    data = json.loads(KEPT.read_text())
    write_svg("sweep", "Time of scans by chunk length and tile", draw([r for r in data["rows"] if r["dim"] == 128]))
    subprocess.run([sys.executable, ROOT / "tools/linear_page.py", "write"], check=True)


if __name__ == "__main__":
    main()
