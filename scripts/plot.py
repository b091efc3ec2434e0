#!/usr/bin/env python3
"""Draws docs/figures.json: two plots in docs/, and tables between the `figures` marks of README.md and BENCHMARKS.md.

Standard library only. It measures nothing: scripts/figures.py does, and `make plots` runs both.
"""

import json
import math
import pathlib
import re

from tables import beside, machine, short

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 84, 200, 50, 50
COLOURS = ["#1b6ca8", "#c8553d", "#4b7f52"]
WORKERS = [1, 2, 4, 8]
PERCENTS = ["p50", "p75", "p90", "p95", "p99", "p99.9"]


class Plot:
    """A plot with a few named places on the x axis, and lines over them."""

    def __init__(self, title, x_title, y_title, places, low, high, ticks, log=False):
        self.places, self.low, self.high = places, low, high
        self.scale = math.log10 if log else float
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            'font-family="sans-serif" font-size="13" fill="#222">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        ]
        self.text(LEFT, 26, title, size=16)
        for tick in ticks:
            y = self.y(tick)
            self.parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
            self.text(LEFT - 8, y + 4, f"{tick:,}", anchor="end")
        for index, place in enumerate(places):
            self.text(self.x(index), HEIGHT - BOTTOM + 20, str(place), anchor="middle")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_title, anchor="middle")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self.text(18, middle, y_title, anchor="middle", more=f' transform="rotate(-90 18 {middle})"')
        self.names = []

    def x(self, index):
        return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(self.places)

    def y(self, value):
        low, high = self.scale(self.low), self.scale(self.high)
        part = (self.scale(min(max(value, self.low), self.high)) - low) / (high - low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, text, anchor="start", size=13, colour="#222", more=""):
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        style = f'text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}{more}>{escaped}</text>')

    def line(self, name, values, colour, dashed=False, spreads=None):
        """`values` by place, and where known the least and the greatest of each."""
        points = [(self.x(index), self.y(value)) for index, value in enumerate(values)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 5"' if dashed else ""
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for (x, y), (least, most) in zip(points, spreads or []):
            self.parts.append(f'<path d="M{x:.1f} {self.y(least):.1f}V{self.y(most):.1f}" stroke="{colour}"/>')
        if not dashed:
            self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]
        self.names.append([points[-1][1], name, colour])

    def save(self, path):
        """Names go to the lines' ends, a line of text apart at least."""
        y_before = 0
        for y, name, colour in sorted(self.names):
            y_before = max(y, y_before + 16)
            self.text(WIDTH - RIGHT + 4, y_before + 4, name, colour=colour)
        path.write_text("\n".join(self.parts + ["</svg>", ""]))


def hydration(results, processors):
    """Throughput by workers, each beside the limit that was measured in the same run."""

    def of(mode, workers):
        command = "hydrate" + f" --mode {mode}" * (mode != "owned")
        command += " --growth" if (mode, workers) == ("owned", 1) else f" --workers {workers}" * (workers > 1)
        return results[command + " --runs 3"][-1]

    modes = {"owned": "owned rows", "borrowed": "borrowed rows"}
    runs = {mode: [of(mode, workers) for workers in WORKERS] for mode in modes}
    million = 1e-6
    limits = {mode: [run["rows_per_s"] / run["ratio_to_limit"] * million for run in runs[mode]] for mode in modes}
    speeds = {mode: [run["rows_per_s"] * million for run in runs[mode]] for mode in modes}
    top = max(value for lines in (limits, speeds) for values in lines.values() for value in values)
    step = next(step for step in (2, 5, 10, 20, 50, 100, 200) if top / step <= 8)
    high = math.ceil(top / step) * step
    title = f"Hydration of 2,000,000 rows from files, {processors} processors"
    ticks = range(0, high + 1, step)
    plot = Plot(title, "workers", "million rows per second", WORKERS, 0, high, ticks)
    names = {"owned": "limit: building owned rows", "borrowed": "limit: reading the files"}
    for (mode, name), colour in zip(modes.items(), COLOURS):
        spreads = [
            [run["rows"] / run["wall_s"][end] * million for end in ("max", "min")] for run in runs[mode]
        ]
        plot.line(name, speeds[mode], colour, spreads=spreads)
        plot.line(names[mode], limits[mode], colour, dashed=True)
    plot.save(ROOT / "docs" / "hydration.svg")


def tail(results):
    """Percentiles of the append and of the way of its rows into a dataflow."""
    run = results["tail --store memory --runs 3"][-1]
    names = {"append": "the append itself", "from_return": "return to dataflow", "from_start": "start to dataflow"}
    values = {of: [run[f"{of}_{percent}_us"] for percent in PERCENTS] for of in names}
    every = [value for line in values.values() for value in line]
    low, high = 10 ** math.floor(math.log10(min(every))), 10 ** math.ceil(math.log10(max(every)))
    ticks = [low * 10**power * step for power in range(round(math.log10(high / low))) for step in (1, 2, 5)] + [high]
    title = "10 rows appended each 5 ms, and a dataflow that follows"
    plot = Plot(title, "percentile of 2,000 appends", "microseconds", PERCENTS, low, high, ticks, log=True)
    for (of, name), colour in zip(names.items(), COLOURS):
        plot.line(name, values[of], colour)
    plot.save(ROOT / "docs" / "tail.svg")


def fill(path, text):
    """Puts the text between the marks of a file."""
    before = path.read_text()
    marks = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- end of figures -->)", re.DOTALL)
    after, found = marks.subn(lambda match: match[1] + "\n" + text + "\n" + match[2], before)
    if found != 1:
        raise SystemExit(f"plot: {path} has {found} pairs of `figures` marks instead of one")
    path.write_text(after)


def main():
    figures = json.loads((ROOT / "docs" / "figures.json").read_text())
    results = figures["results"]
    hydration(results, figures["machine"]["processors"])
    tail(results)
    fill(ROOT / "README.md", machine(figures) + "\n\n" + short(results))
    fill(ROOT / "BENCHMARKS.md", machine(figures) + "\n\n" + beside(results))


if __name__ == "__main__":
    main()
