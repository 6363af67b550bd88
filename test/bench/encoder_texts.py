"""encoder_texts.py TITLES_CSV GOLDEN WORK: the texts that encoder.sh embeds.

Writes to WORK, each as a file of texts (four bytes of size, little-endian, and
the text) and as NAME.copy for COPY too:

    titles       500 titles, the first by MD5 of the title, in that order
    calibration  the next 300: what peers may calibrate int8 on
    hostile      the texts of the golden file that are no titles, and the
                 reference's embeddings of them as float32 in hostile.reference
"""
import csv
import hashlib
import json
import os
import re
import struct
import sys

TITLES = 500
CALIBRATION = 300
COPY_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def write_texts(path, texts):
    with open(path, "wb") as file:
        for text in texts:
            encoded = text.encode()
            file.write(struct.pack("<i", len(encoded)) + encoded)
    with open(path + ".copy", "w", encoding="utf-8", newline="\n") as file:
        for text in texts:
            file.write(re.sub(r"[\\\n\r\t]", lambda match: COPY_ESCAPES[match.group(0)], text) + "\n")


def main(titles_csv, golden, work):
    with open(titles_csv, encoding="utf-8-sig", newline="") as file:
        titles = {" ".join(row["titles"].split()) for row in csv.DictReader(file)}
    ordered = sorted(titles, key=lambda title: hashlib.md5(title.encode()).digest())
    write_texts(os.path.join(work, "titles"), ordered[:TITLES])
    write_texts(os.path.join(work, "calibration"), ordered[TITLES:TITLES + CALIBRATION])

    hostile = []
    if os.path.exists(golden):
        with open(golden, encoding="utf-8") as file:
            hostile = [row for row in json.load(file)["rows"]
                       if " ".join(row["text"].split()) not in titles]
    write_texts(os.path.join(work, "hostile"), [row["text"] for row in hostile])
    with open(os.path.join(work, "hostile.reference"), "wb") as file:
        for row in hostile:
            file.write(struct.pack(f"<{len(row['embedding'])}f", *row["embedding"]))


main(*sys.argv[1:])
