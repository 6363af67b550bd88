#!/usr/bin/env python3
"""Perturbed copies of embeddings, for COPY.

    ann_copies.py BASE FIRST ROWS SEED

BASE is what COPY BINARY wrote of (id int, embedding). Row i of ROWS is vector
i of BASE, which is begun anew at its end, plus Gaussian noise whose length is
.3 of the vector's, which is 1; its id is FIRST + i. The same arguments give
the same rows.
"""
import random
import struct
import sys

NOISE = 0.3
POOL = 1 << 20					# numbers that the noise is cut from, at random places
HEADER = 19						# bytes before the first row
VECTOR_AT = 18					# in a row: number of columns, id with its size, size, dimensions, padding


def vectors(path):
    """The vectors as bytes, and how many dimensions they have."""
    with open(path, "rb") as file:
        content = file.read()
    columns, id_size, _, size, dims, _ = struct.unpack_from(">hiiihh", content, HEADER)
    if (columns, id_size, size) != (2, 4, 4 + 2 * dims):
        sys.exit(f"{path} does not hold rows of (int, embedding)")
    row = VECTOR_AT + 2 * dims
    ends = range(HEADER, len(content) - row + 1, row)
    return [content[at + VECTOR_AT:at + row] for at in ends], dims


def main():
    path, first, rows, seed = sys.argv[1], *map(int, sys.argv[2:])
    base, dims = vectors(path)
    chance = random.Random(seed)
    deviation = NOISE / dims ** 0.5
    pool = [chance.gauss(0, deviation) for _ in range(POOL)]
    halves = struct.Struct(f">{dims}e")
    out = sys.stdout.buffer
    out.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for i in range(rows):
        at = chance.randrange(POOL - dims)
        noisy = [x + e for x, e in zip(halves.unpack(base[i % len(base)]), pool[at:at + dims])]
        out.write(struct.pack(">hiiihh", 2, 4, first + i, 4 + 2 * dims, dims, 0) + halves.pack(*noisy))
    out.write(struct.pack(">h", -1))


if __name__ == "__main__":
    main()
