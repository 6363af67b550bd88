#!/usr/bin/env python3
"""The figures of ann.sh as a table, and recall against queries/s as an SVG.

    ann_table.py RESULTS SVG

RESULTS has a line for each measurement, its kind first; ann.sh writes them. At
a recall that no setting has, queries/s come from the two settings around it,
logarithm against recall on a straight line; where every setting finds more,
from the fastest one.
"""
import collections
import math
import re
import statistics
import sys

PEER, OURS = "pgvector", "bundle_ann"
TARGETS = (.95, .98, .99)
COLOURS = {PEER: "#c0392b", OURS: "#1f6fb2", "exact": "#777777"}


def read(path):
    """(figures by kind and the words that follow, the order in which those came)"""
    figures = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            kind, *words = line.split()
            count = {"build": 2, "insert": 2, "rows": 0}.get(kind, 1)
            figures[kind, *words[:count]].append(words[count:])
    return figures


def median(figures, *key, column=0):
    values = [float(words[column]) for words in figures.get(key, ())]
    return statistics.median(values) if values else None


def keys(figures, kind):
    return [key[1:] for key in figures if key[0] == kind]


def ratio(better, worse):
    return "-" if not better or not worse else f"{better / worse:.1f} x"


def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


class Search:
    """One configuration: what it is called and what was measured."""
    def __init__(self, figures, config):
        self.system, kept, setting = config.split("/")
        self.kept = int(kept)
        self.setting = re.sub(r"\b(hnsw|bundle_rec)\.", "", setting).replace(",", " ")
        self.recall = median(figures, "recall", config)
        self.short = median(figures, "recall", config, column=1)
        self.rate = median(figures, "speed", config)
        self.p50 = median(figures, "speed", config, column=1)
        self.p99 = median(figures, "speed", config, column=2)
        self.plan = figures["plan", config][0][0]

    def cells(self):
        filtered = "-" if self.kept == 1000 else f"{self.kept / 10:g} %"
        return (self.system, filtered, self.setting, f"{self.recall:.4f}", f"{100 * self.short:.1f} %",
                number(self.rate, 0 if self.rate >= 100 else 1), f"{self.p50:.2f}", f"{self.p99:.2f}", self.plan)


def rate_at(searches, recall):
    """Queries/s of one system at a recall, None where none of its settings reaches it."""
    points = sorted((search.recall, search.rate) for search in searches)
    rates = [rate for found, rate in points if found >= recall]
    for (low, slow), (high, fast) in zip(points, points[1:]):
        if low < recall < high:
            share = (recall - low) / (high - low)
            rates.append(math.exp((1 - share) * math.log(slow) + share * math.log(fast)))
    return max(rates, default=None)


def print_columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) if i < 3 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())


def best_filtered(searches):
    """The fastest that finds .95, else the one that finds most."""
    good = [search for search in searches if search.recall >= .95]
    if good:
        return max(good, key=lambda search: search.rate)
    return max(searches, key=lambda search: search.recall, default=None)


def print_spread(figures):
    """How far the turns of a configuration lay apart, of its median."""
    rates = [[float(words[0]) for words in figures["speed", *key]] for key in keys(figures, "speed")]
    apart = sorted((max(turns) - min(turns)) / statistics.median(turns) for turns in rates)
    if len(rates[0]) > 1:
        print(f"the turns lay {100 * statistics.median(apart):.0f} % apart (at most {100 * apart[-1]:.0f} %)")


def print_builds(figures):
    sizes = {key[0]: median(figures, "size", *key) for key in keys(figures, "size")}
    base = max((median(figures, "build", *key) for key in keys(figures, "build") if key[0] == PEER), default=None)
    for key in keys(figures, "build"):
        system, memory = key
        seconds = median(figures, "build", *key)
        line = f"build   {system:<11} {number(seconds, 1)} s with {memory} MB, {number(sizes[system])} bytes a vector"
        if system == OURS and base:
            line += f": {ratio(base, seconds)} as fast, {sizes[OURS] / sizes[PEER]:.2f} of the size"
        print(line)


def print_ratios(searches):
    plain = {system: [s for s in searches if s.system == system and s.kept == 1000] for system in (PEER, OURS)}
    for recall in TARGETS:
        peer, ours = (rate_at(plain[system], recall) for system in (PEER, OURS))
        print(f"recall {recall:.2f}".ljust(16) + f"queries/s: {PEER} {number(peer)}, {OURS} {number(ours)}: {ratio(ours, peer)}")
    for kept in sorted({s.kept for s in searches if s.kept < 1000}, reverse=True):
        peer = best_filtered([s for s in searches if s.system == PEER and s.kept == kept])
        for ours in [s for s in searches if s.system == OURS and s.kept == kept] or [None]:
            words = [f"{s.system} {number(s.rate, 0 if s.rate >= 100 else 1)} (recall {s.recall:.3f}, short {100 * s.short:.1f} %)"
                     for s in (peer, ours) if s]
            print(f"filter {kept / 10:g} %".ljust(16) + "queries/s: " + ", ".join(words) + ": " +
                  ratio(ours and ours.rate, peer and peer.rate) + (f" {ours.setting}" if ours else ""))


def print_inserts(figures):
    for each in sorted({key[1] for key in keys(figures, "insert")}, key=int):
        peer, ours = (median(figures, "insert", system, each) for system in (PEER, OURS))
        print(f"inserts of {each}".ljust(16) + f"rows/s: {PEER} {number(peer)}, {OURS} {number(ours)}: {ratio(ours, peer)}")


def draw(searches, path):
    """Recall from left to right on a scale of what is missed, queries/s upwards, both logarithmic."""
    plain = [s for s in searches if s.kept == 1000]
    missed = lambda s: math.log10(max(1 - s.recall, 1e-4))
    x_low, x_high = max(map(missed, plain)) + .1, min(map(missed, plain)) - .1
    y_low, y_high = (f(math.log10(s.rate) for s in plain) for f in (min, max))
    y_low, y_high = y_low - .1, y_high + .1
    x = lambda value: 70 + 540 * (value - x_low) / (x_high - x_low)
    y = lambda value: 360 - 320 * (value - y_low) / (y_high - y_low)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="640" height="420" font-family="sans-serif" font-size="12">',
             '<rect width="640" height="420" fill="white"/>',
             '<text x="340" y="405" text-anchor="middle">recall@10</text>',
             '<text x="70" y="24">queries/s, one connection</text>']
    for recall in (.5, .8, .9, .95, .98, .99, .995, .998, .999):
        at = x(math.log10(1 - recall))
        if 70 <= at <= 610:
            parts.append(f'<path d="M{at:.1f} 40V360" stroke="#ddd"/><text x="{at:.1f}" y="380" text-anchor="middle">{recall:g}</text>')
    for rate in (base * 10 ** power for power in range(6) for base in (1, 2, 5)):
        at = y(math.log10(rate))
        if 40 <= at <= 360:
            parts.append(f'<path d="M70 {at:.1f}H610" stroke="#ddd"/><text x="62" y="{at + 4:.1f}" text-anchor="end">{rate:,}</text>')
    for i, (system, colour) in enumerate(COLOURS.items()):
        points = [(x(missed(s)), y(math.log10(s.rate))) for s in plain if s.system == system]
        if points:
            line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in points]
            parts.append(f'<text x="600" y="{24 + 16 * i}" text-anchor="end" fill="{colour}">{system}</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts + ["</svg>\n"]))


def main():
    figures = read(sys.argv[1])
    searches = [Search(figures, config) for config, in keys(figures, "recall")]
    print_columns([("system", "filter", "setting", "recall@10", "short", "queries/s", "p50 ms", "p99 ms", "plan")] +
                  [search.cells() for search in searches])
    print_spread(figures)
    print()
    print_builds(figures)
    print_ratios(searches)
    print_inserts(figures)
    draw(searches, sys.argv[2])


if __name__ == "__main__":
    main()
