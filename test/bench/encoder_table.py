"""encoder_table.py WORK VERSIONS: the table of encoder.sh.

WORK/results holds a line for each measurement: system, threads ("one" or
"all"), JSON. Speeds and latencies are medians, beside each in brackets its
ratio to the fastest peer of the same precision. Cosines are to
sentence-transformers in f32: of this run on the titles (WORK/SYSTEM.titles), of
the golden file on hostile texts. A last line says how noisy the run was.
MARKDOWN=1 prints Markdown.
"""
import array
import collections
import json
import math
import os
import statistics
import sys

DIMENSIONS = 384
REFERENCE = "sentence-transformers-f32"
PRECISIONS = ("f32", "bf16", "int8")


def read_vectors(path):
    """Rows of raw float32, or of an embedding's text form one a line; None: no such file."""
    if not os.path.exists(path):
        return None
    if path.endswith(".lines"):
        with open(path, encoding="ascii") as file:
            return [json.loads(line) for line in file]
    values = array.array("f")
    with open(path, "rb") as file:
        values.frombytes(file.read())
    return [values[i:i + DIMENSIONS] for i in range(0, len(values), DIMENSIONS)]


def cosine(left, right):
    product = math.fsum(a * b for a, b in zip(left, right))
    return product / math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))


def cosines(work, system, kind, reference):
    path = os.path.join(work, f"{system}.{kind}")
    vectors = read_vectors(path) or read_vectors(path + ".lines")
    if not vectors or not reference:
        return None
    if len(vectors) != len(reference):
        sys.exit(f"encoder_table: {system} has {len(vectors)} embeddings of {kind}, not {len(reference)}")
    return [cosine(vector, expected) for vector, expected in zip(vectors, reference)]


def is_peer(system):
    return not system.startswith("bundle_rec")


def with_ratio(value, best, digits, inverse=False):
    if value is None:
        return "-"
    if not best:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({best / value if inverse else value / best:.2f})"


def read_results(work):
    """{system: {(threads, figure): of each turn}}, and each system's detail."""
    figures = collections.defaultdict(lambda: collections.defaultdict(list))
    details = {}
    with open(os.path.join(work, "results"), encoding="utf-8") as file:
        for line in file:
            system, threads, data = line.split(" ", 2)
            data = json.loads(data)
            for name in ("texts_per_second", "single_ms"):
                figures[system][threads, name].append(data[name])
            details.setdefault(system, {})[threads] = data["detail"]
    return figures, details


def medians(figures):
    return {system: {key: statistics.median(values) for key, values in of.items()}
            for system, of in figures.items()}


def print_spread(figures):
    spread, system, threads = max((max(values) / min(values), system, key[0])
                                  for system, of in figures.items() for key, values in of.items()
                                  if key[1] == "texts_per_second")
    print(f"texts/s of one system differed between turns by at most {spread:.2f} times ({system}, cores: {threads})")


def table_rows(work, versions, results, details):
    references = {"titles": read_vectors(os.path.join(work, REFERENCE + ".titles")),
                  "hostile": read_vectors(os.path.join(work, "hostile.reference"))}
    for precision in PRECISIONS:
        systems = [system for system in results if system.endswith("-" + precision)]
        peers = [results[system] for system in systems if is_peer(system)]
        for system in sorted(systems, key=lambda name: not is_peer(name)):
            name = system.rsplit("-", 1)[0]
            row = [f"{name} {versions.get(name, '')}".strip(), precision]
            for figure, digits, choose in (("texts_per_second", 1, max), ("single_ms", 2, min)):
                for threads in ("one", "all"):
                    key = threads, figure
                    best = choose((peer[key] for peer in peers if key in peer), default=None)
                    row.append(with_ratio(results[system].get(key), best, digits, choose is min))
            titles = cosines(work, system, "titles", references["titles"])
            hostile = cosines(work, system, "hostile", references["hostile"])
            row += [f"{min(titles):.5f}" if titles else "-", f"{statistics.fmean(titles):.5f}" if titles else "-",
                    f"{min(hostile):.5f}" if hostile else "-"]
            seen = details[system]
            row.append(" / ".join(dict.fromkeys(seen[threads] for threads in ("one", "all") if threads in seen)))
            yield row


def print_table(rows, markdown):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        print("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip())
        if markdown and number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def main(work, versions_file):
    with open(versions_file, encoding="utf-8") as file:
        versions = dict(line.split() for line in file)
    head = ["system", "precision", "texts/s, one core", "texts/s, all", "single ms, one core", "single ms, all",
            "min cosine", "mean", "min hostile", "setting, one core / all"]
    figures, details = read_results(work)
    print_table([head, *table_rows(work, versions, medians(figures), details)], os.environ.get("MARKDOWN") == "1")
    print()
    print_spread(figures)


main(*sys.argv[1:])
