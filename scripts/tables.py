"""The tables of README.md and BENCHMARKS.md, out of what scripts/figures.py measured."""

MEBI = 1 << 20


def table(heads, rows):
    lines = [heads, ["---"] * len(heads)] + rows
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def digits(value):
    """Three of them, without exponents."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def million(run):
    return digits(run["rows_per_s"] / 1e6)


def machine(figures):
    about = figures["machine"]
    memory_gb = int(about["memory"].split()[0]) // 1_000_000
    load = "at rest" if about["load_before"] < 1 else f"with a load of {about['load_before']:.1f} from other programs"
    if about["nice"] > 0:
        load += " that had precedence"
    return (
        f"{about['processors']} × {about['processor']}, {memory_gb} GB, {load}, {about['date']}; "
        "medians.\n"
        "The whole is in `docs/figures.json`."
    )


def short(results):
    """What a reader wants to know first."""

    def last(command):
        return results[command][-1]

    def ratio(run):
        return f"{digits(run['ratio_to_limit'])} of the machine's limit"

    def rows(name, command):
        run = last(command)
        return [name, million(run) + " M rows/s", ratio(run)]

    def arranged(workers, ordinary, flat):
        ordinary, flat = last(ordinary), last(flat)
        wall_s, before_s = flat["wall_s"]["median"], ordinary["wall_s"]["median"]
        memory = flat["rss_above_start_mb"] / ordinary["rss_above_start_mb"]
        return [
            f"arrangement by key from the parts, flat, {workers}",
            f"{million(flat)} M rows/s",
            f"{digits(wall_s / before_s)} of the time and {digits(memory)} of the memory of `arrange_by_key` of the rows",
        ]

    append, tail = last("append --store memory --appends 50000 --growth --runs 1"), last("tail --store memory --runs 3")
    small, many = last("hydrate --inflight-bytes 16777216 --runs 3"), last("shards --store memory --growth --runs 1")
    return table(
        ["workload", "figure", "beside it"],
        [
            rows("hydration, owned rows, 1 worker", "hydrate --growth --runs 3"),
            rows("hydration, owned rows, 4 workers", "hydrate --workers 4 --runs 3"),
            rows("hydration, borrowed rows, 1 worker", "hydrate --mode borrowed --runs 3"),
            [
                "hydration with 16 MiB in flight",
                million(small) + " M rows/s",
                f"{digits(small['rss_above_start_mb'])} MiB of memory above the start",
            ],
            arranged("1 worker", "arrange --runs 3", "arrange --mode flat --runs 3"),
            arranged("2 workers", "arrange --workers 2 --runs 3", "arrange --mode flat --workers 2 --runs 3"),
            rows("consolidated read of a snapshot", "cursor --growth --runs 3"),
            rows("ingestion, files synced", "ingest --growth --runs 3"),
            [
                "append of 10 rows, in memory",
                f"p50 {digits(append['p50_us'])} µs, p99 {digits(append['p99_us'])} µs",
                f"{append['ops']['compare_and_sets']:.3f} compare-and-sets",
            ],
            [
                "from an append's start to the dataflow",
                f"p50 {digits(tail['from_start_p50_us'])} µs, p99 {digits(tail['from_start_p99_us'])} µs",
                f"{tail['ops']['compare_and_sets']:.3f} compare-and-sets, {tail['ops']['blob_gets']:.3f} gets",
            ],
            [
                "1,000 shards, an append per second to each",
                f"{digits(many['cpu_per_s'])} CPU s per second",
                f"{digits(many['operations_per_append'])} operations per append, p99 {digits(many['p99_us'])} µs",
            ],
        ],
    )


def beside(results):
    """All that goes beside the plain workloads."""
    sections = [
        ("Workers", workers(results)),
        ("A distant store, and little memory", distance(results)),
        ("Arrangements by key, and a join of two", arrangements(results)),
        ("Distinct times of retained history", times(results)),
        ("Values replaced 10 times", churn(results)),
        ("Many shards, each appended to once per second", shards(results)),
        ("As the work grows", growth(results)),
    ]
    return "\n\n".join(f"#### {name}\n\n{text}" for name, text in sections)


def workers(results):
    rows = []
    for count in (1, 2, 4, 8):
        plain = "hydrate --growth" if count == 1 else f"hydrate --workers {count}"
        borrowed = "hydrate --mode borrowed" + f" --workers {count}" * (count > 1)
        row = [count]
        for command in (plain, borrowed):
            run = results[command + " --runs 3"][-1]
            row += [million(run)] + [digits(run[name]) for name in ("ratio_to_limit", "cpu_s", "rss_above_start_mb")]
        rows.append(row)
    units = (", M rows/s", ": ratio", ": CPU s", ": MiB")
    heads = [f"{mode}{unit}" for mode in ("owned", "borrowed") for unit in units]
    return table(["workers"] + heads, rows)


def distance(results):
    commands = ["hydrate --growth", "hydrate --inflight-bytes 16777216", "hydrate --latency-ms 30"]
    commands.append("hydrate --latency-ms 30 --part-bytes 1048576")
    rows = []
    for command in commands:
        run = results[command + " --runs 3"][-1]
        in_flight = run["bytes_in_flight"] / MEBI if "bytes_in_flight" in run else None
        cells = [run.get("rounds"), run["ops"]["blob_gets"], run.get("gets_in_flight"), in_flight]
        shown = f"`{command.removesuffix(' --growth')}`"
        row = [shown, million(run), digits(run["wall_s"]["median"])]
        rows.append(row + [digits(cell) for cell in cells + [run["rss_above_start_mb"]]])
    heads = ["M rows/s", "wall, s", "rounds", "gets", "gets in flight", "MiB in flight", "memory above start, MiB"]
    return table(["command"] + heads, rows)


def arrangements(results):
    rows = []
    for workload, counts in (("arrange", (1, 2)), ("join", (1,))):
        for count in counts:
            before = None
            for mode in ("", " --mode sorted", " --mode flat"):
                of = workload + mode + f" --workers {count}" * (count > 1)
                if of + " --runs 3" not in results:
                    continue
                run = results[of + " --runs 3"][-1]
                before = before or run
                row = [f"`{of}`"]
                for value, beside in (
                    (run["wall_s"]["median"], before["wall_s"]["median"]),
                    (run["cpu_s"], before["cpu_s"]),
                    (run["rss_above_start_mb"], before["rss_above_start_mb"]),
                ):
                    row += [digits(value), digits(value / beside)]
                rows.append(row + [digits(run["activation_p99.9_ms"]), digits(run["activation_max_ms"])])
    heads = ["wall, s", "ratio", "CPU, s", "ratio", "memory above start, MiB", "ratio"]
    return table(["command"] + heads + ["activations, ms: p99.9", "longest"], rows)


def times(results):
    rows = []
    for run in results["times --store memory --growth --runs 3"]:
        grown = run.get("growth", {})
        row = [f"{run['times']:,.0f}", digits(run["batches"]), digits(run["parts"])]
        row.append(digits(run["open_s"] * 1e3))
        for name in ("middle_s", "end_s", "replay_s"):
            row += [digits(run[name] / run["rows"] * 1e9), digits(grown.get(name))]
        rows.append(row)
    heads = ["times", "batches", "parts", "open, ms", "middle, ns per row of the shard", "ratio", "end", "ratio"]
    return table(heads + ["each time", "ratio"], rows)


def churn(results):
    run = results["churn --store memory --rows 1000000 --runs 1"][-1]
    names = {
        "before": "the since at the first time",
        "after": "the since at the last time, settled",
        "steady": "10 replacements later, the since behind each",
        "only_live": "a shard of only the live rows",
    }
    rows = [
        [
            name,
            digits(run[f"{of}_updates"] / run["rows"]),
            digits(run[f"{of}_rows_per_s"] / 1e6),
            digits(run[f"{of}_wall_ratio"]),
            digits(run[f"{of}_bytes"] / MEBI),
            digits(run[f"{of}_bytes_ratio"]),
        ]
        for of, name in names.items()
    ]
    return table(["state", "updates read per live row", "M live rows/s", "time, ratio", "MiB live", "ratio"], rows)


def shards(results):
    names = ["operations_per_s", "operations_per_append", "cpu_per_s", "cpu_per_append_us", "p50_us", "p99_us"]
    rows = []
    for run in results["shards --store memory --growth --runs 1"]:
        cpu = digits(run.get("growth", {}).get("cpu_s"))
        rows.append([f"{run['shards']:,.0f}"] + [digits(run[name]) for name in names] + [cpu])
    heads = ["operations per s", "per append", "CPU s per s", "CPU µs per append", "p50, µs", "p99, µs"]
    return table(["shards"] + heads + ["CPU per shard, ratio"], rows)


def growth(results):
    rows = []
    for command, runs in results.items():
        if " --growth" not in command or command.startswith("shards"):
            continue
        name = command.replace(" --growth", "").replace(" --runs 3", "").replace(" --runs 1", "")
        row = [f"`{name}`", f"{runs[0]['rows']:,} rows"]
        for of in ("wall_s", "cpu_s"):
            row += [digits(run["growth"].get(of)) for run in runs[1:]]
        rows.append(row)
    heads = ["of 1×", "wall per row at 10×, ratio", "at 100×", "CPU per row at 10×, ratio", "at 100×"]
    return table(["command"] + heads, rows)
