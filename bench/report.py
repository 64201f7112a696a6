"""Turns what scripts/bench_peers.sh, bench_mlx.sh and bench_scale.sh measured into tables, CSV and plots.

    report.py peers|mlx|scale RAW.jsonl RESULT      writes RESULT.md, .csv and, by gnuplot, .png and .svg
"""

import csv
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict

MPI = ["openmpi", "openmpi-copy", "mpich"]
TITLES = {
    "hocket-shm": "hocket, shm",
    "hocket-alloc": "hocket, shm, hocket_alloc",
    "hocket-tcp": "hocket, tcp",
    "openmpi": "Open MPI",
    "openmpi-copy": "Open MPI, no CMA",
    "openmpi-tcp": "Open MPI, tcp",
    "mpich": "MPICH",
    "mlx-ring": "MLX's ring",
    # a language model's alone: behind libhocket-blas
    "hocket-rows": "hocket, libhocket-blas",
    "openmpi-rows": "Open MPI, libhocket-blas",
}
MIB = 1 << 20

# What is compared, and what is to be reached: the ratio at each size and their geometric mean.
COMPARISONS = [
    # title, operation, ranks, ours, theirs, smallest size (and largest), limit of a size, limit of the mean
    ("shm against the better MPI", "all_reduce", 2, "hocket-shm", MPI, 0, 0.9, 0.55),
    ("shm, hocket_alloc, against the better MPI", "all_reduce", 2, "hocket-alloc", MPI, MIB, 0.6, 0.4),
    ("shm against the better MPI", "all_reduce", 4, "hocket-shm", MPI, 0, 1.0, 0.7),
    ("tcp against Open MPI's tcp", "all_reduce", 2, "hocket-tcp", ["openmpi-tcp"], 0, 1.0, 0.75),
    ("tcp against Open MPI's tcp", "all_reduce", 4, "hocket-tcp", ["openmpi-tcp"], 0, None, None),
    ("shm against MLX's ring", "all_reduce", 2, "hocket-shm", ["mlx-ring"], 0, 0.5, 0.1),
    ("shm against MLX's ring", "all_reduce", 4, "hocket-shm", ["mlx-ring"], 0, 0.5, 0.1),
    ("tcp against MLX's ring", "all_reduce", 2, "hocket-tcp", ["mlx-ring"], 0, 0.5, 0.1),
    ("tcp against MLX's ring", "all_reduce", 4, "hocket-tcp", ["mlx-ring"], 0, 0.5, 0.1),
    ("shm against the better MPI", "all_gather", 2, "hocket-shm", MPI, 0, 1.0, None),
    ("shm against the better MPI", "reduce_scatter", 2, "hocket-shm", MPI, 0, 1.0, None),
    ("shm against the better MPI", "broadcast", 2, "hocket-shm", MPI, 0, 1.0, None),
]


def read(path):
    machine, lines = {}, []
    with open(path, encoding="utf-8") as raw:
        for text in raw:
            line = json.loads(text)
            if "machine" in line:
                machine = line["machine"]
            else:
                lines.append(line)
    if not lines:
        sys.exit(f"report: {path} holds no results")
    return machine, lines


def bytes_of(word):
    return int(word.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(word[-1], 0)


def microseconds(us):
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 100 else f"{us:.0f}"


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(out + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def describe(machine):
    return "\n".join(f"- {key}: {value}" for key, value in machine.items() if value) + "\n"


def write_csv(path, fields, lines):
    with open(path, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def quoted(text):
    """As gnuplot wants it between single quotes."""
    return text.replace("'", "''")


def plot(script, result, height):
    """Draws script (which ends in the plot commands) into result.png and result.svg, height pixels high."""
    if not shutil.which("gnuplot"):
        print("report: gnuplot is not here, so there is no plot", file=sys.stderr)
        return False
    for terminal, ending in ((f"pngcairo size 1200,{height}", "png"),
                             (f"svg size 1200,{height} background '#ffffff'", "svg")):
        run = subprocess.run(["gnuplot"], text=True, timeout=120, input=
                             f"set terminal {terminal}\nset output '{result}.{ending}'\n{script}\n")
        if run.returncode != 0:
            print("report: gnuplot failed", file=sys.stderr)
            return False
    return True


# === Peers ========================================================================================


class Peers:
    def __init__(self, lines):
        self.lines = lines
        self.at = {(l["operation"], l["ranks"], l["config"], l["size"], l["round"]): l["median_us"]
                   for l in lines}
        self.sizes = sorted({l["size"] for l in lines}, key=bytes_of)
        self.rounds = sorted({l["round"] for l in lines})

    def median(self, operation, ranks, config, size):
        values = [self.at[key] for r in self.rounds
                  if (key := (operation, ranks, config, size, r)) in self.at]
        return statistics.median(values) if values else None

    def ratios(self, operation, ranks, ours, theirs, size):
        """Ours by the best of theirs, in each round that has both."""
        found = []
        for r in self.rounds:
            mine = self.at.get((operation, ranks, ours, size, r))
            best = [self.at[key] for peer in theirs
                    if (key := (operation, ranks, peer, size, r)) in self.at]
            if mine is not None and best:
                found.append(mine / min(best))
        return found

    def times_table(self, operation, ranks):
        configs = [c for c in TITLES if any(
            self.median(operation, ranks, c, s) is not None for s in self.sizes)]
        rows = []
        for size in self.sizes:
            times = [self.median(operation, ranks, c, size) for c in configs]
            rows.append([size] + ["-" if t is None else microseconds(t) for t in times])
        return table(["bytes"] + [TITLES[c] for c in configs], rows) if configs else ""

    def ratio_row(self, title, operation, ranks, ours, theirs, span, size_limit, mean_limit):
        least, most = span if isinstance(span, tuple) else (span, math.inf)
        cells, values = [], []
        for size in self.sizes:
            ratios = self.ratios(operation, ranks, ours, theirs, size)
            if not least <= bytes_of(size) <= most or not ratios:
                cells.append("-")
                continue
            value = statistics.median(ratios)
            values.append(value)
            cells.append(f"{value:.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
        if not values:
            return None
        mean = math.exp(statistics.fmean(math.log(v) for v in values))
        fine = ((size_limit is None or max(values) <= size_limit) and
                (mean_limit is None or mean <= mean_limit))
        limits = [f"{size_limit:g}" if size_limit else "-", f"{mean_limit:g}" if mean_limit else "-"]
        verdict = "-" if size_limit is None else "yes" if fine else "**no**"
        return [f"{operation}, {ranks} ranks: {title}"] + cells + [f"{mean:.2f}"] + limits + [verdict]

    def plot_script(self, more=()):
        """All times against size; more: panels beside these."""
        counts = sorted({l["ranks"] for l in self.lines if l["operation"] == "all_reduce"})
        panels = []
        for ranks in counts:
            curves = []
            for number, config in enumerate(TITLES):
                points = [(bytes_of(s), t) for s in self.sizes
                          if (t := self.median("all_reduce", ranks, config, s)) is not None]
                if points:
                    name = f"$d{ranks}_{number}"
                    panels.append(f"{name} << EOD\n" +
                                  "\n".join(f"{x} {y}" for x, y in points) + "\nEOD")
                    width = 3 if config.startswith("hocket") else 1.5
                    curves.append(f"{name} using 1:2 with linespoints lt {number + 1} lw {width} "
                                  f"pt 7 ps 0.6 title '{quoted(TITLES[config])}'")
            panels.append(f"set title 'all_reduce of float32, sum: {ranks} ranks' noenhanced\nplot " +
                          ", \\\n  ".join(curves))
        tics = ", ".join(f"'{s}' {bytes_of(s)}" for s in self.sizes)
        return (f"set multiplot layout 1,{len(counts) + len(more)}\nset logscale xy\nset grid\n"
                "set key outside below Left reverse noenhanced samplen 2 font ',9'\n"
                f"set xlabel 'bytes'\nset xtics ({tics})\nset mxtics 1\n"
                "set ylabel 'microseconds'\nset format y '10^{%T}'\n" +
                "\n".join(panels + list(more)) + "\nunset multiplot")


RATIO_HEAD, RATIO_TAIL = ["all times: ours / theirs"], ["mean", "limit of a size", "limit of the mean", "reached"]


def report_peers(machine, lines, result):
    peers = Peers(lines)
    write_csv(result + ".csv", ["round", "operation", "ranks", "config", "size", "bytes", "median_us",
                                "min_us", "max_us", "iterations", "batches", "bus_gb_s"], lines)
    drawn = plot(peers.plot_script(), result, 560)
    name = os.path.basename(result)
    rows = [row for c in COMPARISONS if (row := peers.ratio_row(*c))]
    text = [f"# hocket and its peers, {name}\n", describe(machine),
            f"`make bench-peers`, rounds: {len(peers.rounds)}. In each, every size is measured by all, one "
            "after the other. Each time is the median of batches as the slowest rank saw them; buffers "
            "come from malloc unless the column says otherwise. Data and results are float32 and checked.\n"]
    if drawn:
        text.append(f"![time against size]({name}.svg)\n")
    text += ["## Ratios\n", "Ours by the best of theirs within each round: the median of the rounds (the "
             "least and the most), and the geometric mean of the medians over the sizes. The better MPI is "
             "the best of Open MPI as it comes, Open MPI without CMA, and MPICH.\n",
             table(RATIO_HEAD + peers.sizes + RATIO_TAIL, rows)]
    text.append("## Microseconds\n\nMedians over the rounds.\n")
    for operation in sorted({l["operation"] for l in lines}, key=lambda o: (o != "all_reduce", o)):
        for ranks in sorted({l["ranks"] for l in lines if l["operation"] == operation}):
            text.append(f"{operation}, {ranks} ranks\n\n" + peers.times_table(operation, ranks))
    with open(result + ".md", "w", encoding="utf-8") as out:
        out.write("\n".join(text))


# === MLX ==========================================================================================

MLX_COMPARISONS = [
    ("MLX over hocket against over Open MPI", "hocket-shm", "openmpi", (0, 64 << 10), 1.05),
    ("MLX over hocket against over Open MPI", "hocket-shm", "openmpi", ((64 << 10) + 1, math.inf), 0.8),
    ("MLX over hocket against MLX's ring", "hocket-shm", "mlx-ring", 0, None),
]
# How many times as fast the model is on several ranks, at least.
DECODE_COMPARISONS = [
    ("hocket run --mlx by Open MPI with OpenBLAS", "hocket-rows", "openmpi", 1.2),
    ("hocket run --mlx by MLX's ring with OpenBLAS", "hocket-rows", "mlx-ring", 10),
    ("hocket by Open MPI, both with OpenBLAS", "hocket-shm", "openmpi", 1.2),
    ("hocket by Open MPI, both with libhocket-blas", "hocket-rows", "openmpi-rows", 1.2),
]


class Decodes:
    def __init__(self, lines):
        self.lines = lines
        self.at = {(l["ranks"], l["config"], int(l["round"])): l["tokens_per_s"] for l in lines}
        self.ranks = sorted({l["ranks"] for l in lines})
        self.configs = [c for c in TITLES if any(l["config"] == c for l in lines)]
        self.rounds = sorted({int(l["round"]) for l in lines})
        texts = {tuple(l["tokens"]) for l in lines}
        if len(texts) > 1:
            sys.exit(f"report: the model said {len(texts)} different things")

    def rates(self, ranks, config):
        return [self.at[key] for r in self.rounds if (key := (ranks, config, r)) in self.at]

    def rates_table(self):
        rows = []
        for config in self.configs:
            cells = [self.rates(n, config) for n in self.ranks]
            rows.append([TITLES[config]] + [
                f"{statistics.median(c):.2f} ({min(c):.2f}-{max(c):.2f})" if c else "-" for c in cells])
        return table(["tokens a second"] + [f"{n} rank{'s' * (n > 1)}" for n in self.ranks], rows)

    def ratios_table(self):
        rows = []
        for ranks in (n for n in self.ranks if n > 1):
            for title, ours, theirs, limit in DECODE_COMPARISONS:
                found = [self.at[ranks, ours, r] / self.at[ranks, theirs, r] for r in self.rounds
                         if (ranks, ours, r) in self.at and (ranks, theirs, r) in self.at]
                if found:
                    value = statistics.median(found)
                    rows.append([f"{ranks} ranks: {title}",
                                 f"{value:.2f} ({min(found):.2f}-{max(found):.2f})", f"{limit:g}",
                                 "yes" if value >= limit else "**no**"])
        return table(["times as many tokens a second", "median (least-most)", "at least", "reached"], rows)

    def panel(self):
        ranks = self.ranks[-1]
        points = [(i, statistics.median(rates)) for i, c in enumerate(self.configs) if (rates := self.rates(ranks, c))]
        data = "\n".join(f"{i} {value}" for i, value in points)
        tics = ", ".join(f"'{quoted(TITLES[self.configs[i]])}' {i}" for i, _ in points)
        return (f"$decode << EOD\n{data}\nEOD\nunset logscale\nset format y '%g'\nset ylabel 'tokens a second'\n"
                f"set xlabel ''\nset xtics ({tics})\nset yrange [0:*]\nset xrange [-0.6:{len(self.configs) - 0.4}]\n"
                f"set style fill solid 0.6\nset boxwidth 0.6\n"
                f"set title 'SmolLM2-135M, its layers shared by {ranks} ranks' noenhanced\n"
                "plot $decode using 1:2 with boxes lt 1 notitle")


def report_mlx(machine, lines, result):
    peers = Peers([l for l in lines if "operation" in l])
    decodes = Decodes([l for l in lines if "tokens_per_s" in l])
    write_csv(result + ".csv", ["round", "operation", "ranks", "config", "size", "bytes", "median_us", "min_us",
                                "max_us", "iterations", "batches", "first_s", "tokens_per_s"], lines)
    drawn = plot(peers.plot_script([decodes.panel()] if decodes.lines else []), result, 560)
    name = os.path.basename(result)
    rounds = max(len(peers.rounds), len(decodes.rounds))
    text = [f"# MLX over hocket and its peers, {name}\n", describe(machine),
            f"`make bench-mlx`, rounds: {rounds}. In each, everything is measured by all, one after the other, in "
            "Python with MLX's stock wheel: over hocket by `hocket run --mlx`, over Open MPI by mpirun, over MLX's "
            "ring. All have as many threads, and OpenBLAS; where it is named, libhocket-blas before that, as `hocket run "
            "--mlx` has it. It makes no difference to all_sum.\n"]
    if drawn:
        text.append(f"![time against size, tokens a second]({name}.svg)\n")
    if decodes.lines:
        text += ["## A language model\n", "SmolLM2-135M by mlx-lm's llama in float32, `model.shard(group)`, greedy, one "
                 "sequence: the median of the rounds (the least and the most). Everyone's tokens are the same.\n",
                 decodes.rates_table(), decodes.ratios_table()]
    if peers.lines:
        rows = [row for title, ours, theirs, span, limit in MLX_COMPARISONS
                for ranks in sorted({l["ranks"] for l in peers.lines})
                if (row := peers.ratio_row(title, "all_reduce", ranks, ours, [theirs], span, limit, None))]
        text += ["## all_sum\n", "Of a float32 array of MLX's, with its evaluation, which costs some 10 us by itself. "
                 "Ours by theirs within each round: the median of the rounds (the least and the most), and the "
                 "geometric mean over the sizes.\n", table(RATIO_HEAD + peers.sizes + RATIO_TAIL, rows),
                 "Microseconds, medians over the rounds.\n"]
        text += [f"{n} ranks\n\n" + peers.times_table("all_reduce", n) for n in sorted({l["ranks"] for l in peers.lines})]
    with open(result + ".md", "w", encoding="utf-8") as out:
        out.write("\n".join(text))


# === Scale ========================================================================================

SCALE_TITLES = {"hocket": "hocket, shm", "openmpi": "Open MPI", "mpich": "MPICH", "hocket-tcp": "hocket, tcp"}


def report_scale(machine, lines, result):
    ranks = sorted({l["ranks"] for l in lines})
    groups = defaultdict(list)
    for l in lines:
        groups[l["what"], l["config"], l["ranks"]].append(l["value"])
    whats = list(dict.fromkeys(l["what"] for l in lines))
    configs = [c for c in SCALE_TITLES if any(l["config"] == c for l in lines)]
    write_csv(result + ".csv", ["round", "what", "config", "ranks", "value"], lines)

    def rows(what):
        for config in configs:
            values = [statistics.median(groups[what, config, n]) if (what, config, n) in groups
                      else None for n in ranks]
            if any(v is not None for v in values):
                yield config, values

    text = [f"# How cost grows, {os.path.basename(result)}\n", describe(machine),
            "`make bench-scale`: medians. Start-up is the time from starting the launcher until it has "
            "ended, with ranks that meet, do one small collective and leave. Memory is the most that a rank "
            "ever had resident, libraries included, less the benchmark's buffers; the largest of the ranks."
            "\n"]
    panels = []
    for number, what in enumerate(whats):
        cells = [[SCALE_TITLES[config]] + ["-" if v is None else f"{v:.3g}" if v < 1000 else f"{v:.0f}"
                                           for v in values]
                 for config, values in rows(what)]
        text.append(f"## {what}\n\n" + table(["ranks"] + [str(n) for n in ranks], cells))
        curves = []
        for config, values in rows(what):
            name = f"$s{number}_{len(curves)}"
            panels.append(f"{name} << EOD\n" + "\n".join(
                f"{n} {v}" for n, v in zip(ranks, values) if v is not None) + "\nEOD")
            curves.append(f"{name} using 1:2 with linespoints lt {configs.index(config) + 1} lw 2 pt 7 "
                          f"ps 0.6 title '{SCALE_TITLES[config]}'")
        panels.append(f"set title '{quoted(what)}' noenhanced\nplot " + ", ".join(curves))
    script = (f"set multiplot layout 2,{(len(whats) + 1) // 2}\nset logscale x 2\nset logscale y\n"
              "set grid\nset key outside below Left reverse noenhanced samplen 2 font ',9'\nset xlabel 'ranks'\n" + "\n".join(panels) +
              "\nunset multiplot")
    if plot(script, result, 800):
        text.insert(3, f"![cost against ranks]({os.path.basename(result)}.svg)\n")
    with open(result + ".md", "w", encoding="utf-8") as out:
        out.write("\n".join(text))


def main():
    reports = {"peers": report_peers, "mlx": report_mlx, "scale": report_scale}
    if len(sys.argv) != 4 or sys.argv[1] not in reports:
        sys.exit(f"usage: report.py {'|'.join(reports)} RAW.jsonl RESULT")
    machine, lines = read(sys.argv[2])
    reports[sys.argv[1]](machine, lines, sys.argv[3])
    print(f"{sys.argv[3]}.md")


main()
