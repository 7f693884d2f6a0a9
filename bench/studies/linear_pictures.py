#!/usr/bin/env python3
# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Runs linear_study and linear_errors, draws what they found into bench/studies/linear
and puts it into docs/linear.md.

    bash tools/build.sh release --target linear_study linear_errors
    python3 bench/studies/linear_pictures.py [build/release/bin]

Numbers are the CSV files beside the pictures; they are the same on every CPU that
has FMA. What needs a clock is scan_sweep.py's. No package is needed.
"""
import csv
import io
import math
import pathlib
import subprocess
import sys
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data/smollm2_135m_moby_dick.safetensors"
FOLDER = ROOT / "bench/studies/linear"
COLOURS = ["#3b82f6", "#d97706", "#16a34a", "#db2777", "#78716c", "#7c3aed"]
STYLE = ("text{fill:#1c1917}.ground{fill:#fff}.grid{stroke:#d6d3d1}"
         "@media (prefers-color-scheme: dark)"
         "{text{fill:#e7e5e4}.ground{fill:#1c1917}.grid{stroke:#44403c}}")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 480, 300, 66, 34, 140, 44


class Axis:
    """Numbers as places between two ends, on a line or by their logarithms."""

    def __init__(self, values, begin, end, log):
        self.of = math.log10 if log else float
        self.low, self.high = self.of(min(values)), self.of(max(values))
        self.begin, self.end = begin, end

    def __call__(self, value):
        share = (self.of(value) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)


def panel(title, x_name, x_ticks, y_ticks, lines, log_y, left, log_x=True, joined=True):
    """One chart; lines: name to points (x, y)."""
    x = Axis([t for t, _ in x_ticks], left + LEFT, left + WIDTH - RIGHT, log_x)
    y = Axis([t for t, _ in y_ticks], HEIGHT - BOTTOM, TOP, log_y)
    text = lambda at, down, words, anchor="middle", more="": (
        f'<text x="{at:.1f}" y="{down:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>')
    out = [text(left + LEFT, 18, title, "start", ' font-weight="bold"'),
           text((x.begin + x.end) / 2, HEIGHT - 8, x_name)]
    for value, name in y_ticks:
        out.append(f'<path d="M{x.begin:.1f} {y(value):.1f}H{x.end:.1f}" class="grid"/>')
        out.append(text(x.begin - 6, y(value) + 4, name, "end"))
    for value, name in x_ticks:
        out.append(text(x(value), HEIGHT - BOTTOM + 16, name))
    for (name, points), colour in zip(lines.items(), COLOURS):
        places = [(x(a), y(min(max(b, y_ticks[0][0]), y_ticks[-1][0]))) for a, b in points]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        if joined:
            out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in places]
    for row, (name, colour) in enumerate(zip(lines, COLOURS)):
        down = TOP + 14 + 18 * row
        out.append(f'<circle cx="{x.end + 14:.1f}" cy="{down - 4}" r="4" fill="{colour}"/>')
        out.append(text(x.end + 24, down, name, "start"))
    return "\n".join(out)


def write_svg(name, title, panels):
    width = WIDTH * len(panels)
    body = "\n".join(panels)
    (FOLDER / f"{name}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}" role="img" font-family="sans-serif" '
        f'font-size="12">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f'<rect width="{width}" height="{HEIGHT}" class="ground"/>\n{body}\n</svg>\n')


def study(program, name, argument=None):
    text = subprocess.run([program, argument or name], check=True, capture_output=True,
                          text=True).stdout
    (FOLDER / f"{name}.csv").write_text(text)
    return list(csv.DictReader(io.StringIO(text)))


def draw_decay(rows):
    gates = sorted({-float(row["gate"]) for row in rows})
    lines = {}
    for row in rows:
        # What is not finite stands at the top.
        error = 1.0 if float(row["not_finite"]) > 0 else float(row["error"])
        lines.setdefault(row["way"], []).append((-float(row["gate"]), error))
    ticks = [(g, f"{g:g}") for g in gates if g in (0.01, 0.1, 1, 10, 60)]
    errors = [(1e-8, "1e-8"), (1e-6, "1e-6"), (1e-4, "1e-4"), (1e-2, "1e-2"), (1.0, "not finite")]
    write_svg("decay", "Error of three ways to multiply decays, by the mean gate", [
        panel("relative error of f32, chunks of 64", "mean of -gate a token", ticks, errors,
              lines, True, 0)])


def draw_recall(rows):
    bytes_ = [(4 * d * d, f"{d * d // 256} KiB") for d in (16, 32, 64, 128)]
    shares = [(0.0, "0"), (0.25, ""), (0.5, "0.5"), (0.75, ""), (1.0, "1")]
    charts = []
    for task, column, title in (("write once", "oldest", "64 items once: the oldest 16"),
                                ("write once", "newest", "64 items once: the newest 16"),
                                ("overwrite", "all", "16 items, each written 16 times")):
        lines = {}
        for row in rows:
            if row["task"] == task:
                lines.setdefault(row["rule"], []).append(
                    (float(row["state_bytes"]), float(row[column])))
        charts.append(panel(title, "state", bytes_, shares, lines, False,
                            WIDTH * len(charts)))
    write_svg("recall", "Share of items recalled, by bytes of state", charts)


def draw_errors(rows):
    """Every head a point: error against its entropy, and against what is predicted."""
    numbers = lambda name: [float(row[name]) for row in rows]
    errors = [(e, f"{e:g}") for e in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)]
    points = lambda x, name: list(zip(numbers(x), numbers(name)))
    names = ["window_linear", "performer", "hedgehog", "based", "mean"]
    entropy = [(float(n), str(n)) for n in range(7)]
    exponents = numbers("exponent")
    ends = range(int(min(exponents) // 20) * 20, int(max(exponents)) + 20, 20)
    write_svg("errors", "Error of softmax attention's stand-ins, a point a head", [
        panel("relative L2 error against entropy", "entropy of the head's attention, nats",
              entropy, errors, {name: points("entropy", name) for name in names}, True, 0,
              log_x=False, joined=False),
        panel("the same of random features", "|q' + k'|² under attention",
              [(float(n), str(n)) for n in ends], errors,
              {name: points("exponent", name) for name in ("performer", "rfa")}, True, WIDTH,
              log_x=False, joined=False)])


def main():
    programs = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/bin")
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw_decay(study(programs / "linear_study", "decay"))
    draw_recall(study(programs / "linear_study", "recall"))
    draw_errors(study(programs / "linear_errors", "errors", SAMPLE))
    subprocess.run([sys.executable, ROOT / "tools/linear_page.py", "write"], check=True)


if __name__ == "__main__":
    main()
