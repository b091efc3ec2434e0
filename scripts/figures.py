#!/usr/bin/env python3
"""Runs the series of benchmarks behind the plots and tables, and writes what they came to into docs/figures.json.

    scripts/figures.py [WORD]     with a word: only the commands that contain it; the other figures stay

The benchmark is built as the environment says (RUSTFLAGS, CARGO_TARGET_DIR); `make plots` sets both.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures.json"
BENCH = ["cargo", "bench", "--quiet", "--bench", "workloads"]

# Some twelve minutes together. A command with --growth gives three results, the last of them of the full size.
SERIES = [
    "hydrate --growth --runs 3",
    "hydrate --workers 2 --runs 3",
    "hydrate --workers 4 --runs 3",
    "hydrate --workers 8 --runs 3",
    "hydrate --mode borrowed --runs 3",
    "hydrate --mode borrowed --workers 2 --runs 3",
    "hydrate --mode borrowed --workers 4 --runs 3",
    "hydrate --mode borrowed --workers 8 --runs 3",
    "hydrate --inflight-bytes 16777216 --runs 3",
    "hydrate --latency-ms 30 --runs 3",
    "hydrate --latency-ms 30 --part-bytes 1048576 --runs 3",
    "arrange --runs 3",
    "arrange --workers 2 --runs 3",
    "arrange --mode sorted --runs 3",
    "arrange --mode sorted --workers 2 --runs 3",
    "arrange --mode flat --runs 3",
    "arrange --mode flat --workers 2 --runs 3",
    "join --runs 3",
    "join --mode flat --runs 3",
    "ingest --growth --runs 3",
    "cursor --growth --runs 3",
    "append --store memory --appends 50000 --growth --runs 1",
    "tail --store memory --runs 3",
    "times --store memory --growth --runs 3",
    "churn --store memory --rows 1000000 --runs 1",
    "shards --store memory --growth --runs 1",
]


def first_line(path, start):
    """The value of the first line of a file of /proc that starts so."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(start)), "unknown")


def machine():
    """What the figures depend on, beside the code."""
    return {
        "processor": first_line("/proc/cpuinfo", "model name"),
        "processors": len(os.sched_getaffinity(0)),
        "memory": first_line("/proc/meminfo", "MemTotal"),
        "rustflags": os.environ.get("RUSTFLAGS", ""),
        "load_before": os.getloadavg()[0],
        "nice": os.nice(0),
    }


def measure(command):
    """The results of one command, one object per line of its output."""
    started = time.monotonic()
    words = BENCH + ["--", "--json"] + command.split()
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"figures: `{' '.join(words)}` failed; the figures are as they were")
    print(f"{time.monotonic() - started:6.1f} s  {command}", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    wanted = [command for command in SERIES if word in command]
    if not wanted:
        sys.exit(f"figures: no command of the series contains '{word}'")
    subprocess.run(BENCH + ["--no-run"], cwd=ROOT, check=True)
    about = machine() | {"date": datetime.date.today().isoformat()}
    results = {command: measure(command) for command in wanted}
    if word and FIGURES.exists():
        before = json.loads(FIGURES.read_text())["results"]
        results = {command: (before | results)[command] for command in SERIES if command in before | results}
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
