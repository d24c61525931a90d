#!/usr/bin/env python3
"""Writes configs/suites/: chips, fault maps, workloads and the suite file that `kintsugi regress` runs.

Needs nothing but Python. The numbers come from a small generator of its own, so every run writes the same
bytes. The recorded results are not written here: `kintsugi regress --suite configs/suites/shipped.yaml
--update` does that, and refuses if the three fidelities disagree.
"""
import gzip
import json
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent / "configs" / "suites"
BITS = {"weight_register": 8, "multiplier": 16, "adder": 32, "psum_register": 32, "activation_register": 8}


class Numbers:
    """splitmix64, as published by Steele, Lea and Flood (OOPSLA 2014)."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return (z ^ (z >> 31)) % n

    def int8(self, count):
        return [self.below(255) - 127 for _ in range(count)]


def write(name, content):
    path = ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def npy(shape, values, code, descr):
    header = "{'descr': '%s', 'fortran_order': False, 'shape': (%s,), }" % (descr, ", ".join(map(str, shape)))
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack(
        "<%d%s" % (len(values), code), *values)


def safetensors(tensors, metadata):
    codes = {"I8": "b", "I32": "i", "I64": "q", "F32": "f"}
    header, blob = {"__metadata__": metadata}, b""
    for name in sorted(tensors):
        kind, shape, values = tensors[name]
        data = struct.pack("<%d%s" % (len(values), codes[kind]), *values)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + blob


def gemm(name, m, k, n, numbers):
    write(f"inputs/{name}_a.npy", npy((m, k), numbers.int8(m * k), "b", "|i1"))
    write(f"inputs/{name}_w.npy", npy((k, n), numbers.int8(k * n), "b", "|i1"))
    write(f"{name}.yaml", f"# {m}x{k} activations times {k}x{n} weights.\n"
          f"workload: {{gemm: {{activations: inputs/{name}_a.npy, weights: inputs/{name}_w.npy}}}}\n")


def network(numbers):
    """A network with two convolutions, already quantised: its scales are powers of two, so that no result
    depends on how a machine rounds."""
    write("network.yaml", """network:
  name: suite
  input: {channels: 1, height: 8, width: 8, scale: 0.5}
  layers:
    - {type: conv2d, name: conv1, out_channels: 6, kernel: 3, padding: 1}
    - {type: relu}
    - {type: max_pool, kernel: 2}
    - {type: conv2d, name: conv2, out_channels: 9, kernel: 3}
    - {type: relu}
    - {type: flatten}
    - {type: linear, name: fc, out_features: 5}
""")
    tensors = {}
    for name, shape, shift in (("conv1", [6, 1, 3, 3], 18), ("conv2", [9, 6, 3, 3], 20)):
        out = shape[0]
        count = shape[0] * shape[1] * shape[2] * shape[3]
        tensors[name + ".weight"] = ("I8", shape, numbers.int8(count))
        tensors[name + ".input_scale"] = ("F32", [1], [1.0])
        tensors[name + ".multiplier"] = ("I32", [out], [1500 + numbers.below(500) for _ in range(out)])
        tensors[name + ".shift"] = ("I32", [out], [shift] * out)
        tensors[name + ".offset"] = ("I64", [out], [2**(shift - 1) + numbers.below(2**22) for _ in range(out)])
    tensors["fc.weight"] = ("I8", [5, 36], numbers.int8(180))
    tensors["fc.input_scale"] = ("F32", [1], [1.0])
    tensors["fc.output_scale"] = ("F32", [5], [2.0**-10] * 5)
    tensors["fc.output_bias"] = ("F32", [5], [0.0, 0.5, -0.5, 1.0, 0.25])
    write("inputs/network.safetensors", safetensors(tensors, {"format": "kintsugi-deployed-1", "network": "suite"}))
    write("inputs/images.npy", npy((12, 1, 8, 8), [numbers.below(256) for _ in range(12 * 64)], "B", "|u1"))
    write("inputs/labels.npy", npy((12, ), [numbers.below(5) for _ in range(12)], "B", "|u1"))
    write("network_workload.yaml", """# A small deployed network on twelve random images, three at a time.
workload:
  network: network.yaml
  weights: inputs/network.safetensors
  dataset: {images: inputs/images.npy, labels: inputs/labels.npy}
  batch: 3
""")


def chip(name, array, mapping="im2col"):
    write(f"chips/{name}.yaml", f"chip:\n  name: {name}\n  array: {{{array}}}\n  clock_mhz: 100\n"
          f"  mapping: {{convolution: {mapping}}}\n  memory: ideal\n")


def fault_map(name, size, lines):
    text = f"fault_map:\n  version: 1\n  chip: {name}\n  rows: {size}\n  cols: {size}\n  faults:\n"
    return text + "".join(f"    - {{{line}}}\n" for line in lines)


def stuck(row, col, site, bit, value):
    return f"row: {row}, col: {col}, site: {site}, bit: {bit}, stuck_at: {value}"


def places(numbers, size, count):
    """Different PEs, in order."""
    found = set()
    while len(found) < count:
        found.add((numbers.below(size), numbers.below(size)))
    return sorted(found)


class Suite:
    def __init__(self):
        self.cases = []

    def add(self, name, chip_name, workload, fault_lines=None, size=8, bypass_lines=None, more="", raw=None,
            fidelities="pe, cycle, functional"):
        keys = [f"name: {name}", f"chip: {chip_name}", f"workload: {workload}.yaml"]
        if fault_lines is not None:
            write(f"maps/{name}.yaml", fault_map(name, size, fault_lines))
            keys.append(f"fault_map: maps/{name}.yaml")
        if raw is not None:
            write(f"maps/{raw[0]}", raw[1])
            keys.append(f"fault_map: maps/{raw[0]}")
        if bypass_lines is not None:
            write(f"maps/{name}_bypass.yaml", fault_map(name, size, bypass_lines))
            keys.append(f"bypass_map: maps/{name}_bypass.yaml")
        if more:
            keys.append(more)
        keys.append(f"fidelities: [{fidelities}]")
        self.cases.append("    - {" + ", ".join(keys) + "}\n")

    def text(self):
        return ("# Written by scripts/make_shipped_suite.py. Every map is used by one case only, so that a change of "
                "a map\n# makes exactly its case differ.\nsuite:\n  name: shipped\n  cases:\n" + "".join(self.cases))


def main():
    numbers = Numbers(2024)
    gemm("one_tile", 12, 8, 8, numbers)
    gemm("ragged", 5, 19, 11, numbers)
    gemm("large", 24, 33, 20, numbers)
    network(numbers)
    chip("single8", "rows: 8, cols: 8, weight_double_buffer: false")
    chip("narrow8", "rows: 8, cols: 8, accumulator_bits: 18")
    chip("plain8", "rows: 8, cols: 8, bypass: none")
    chip("channel8", "rows: 8, cols: 8", "channel")
    tiny, edge = "../chips/tiny8.yaml", "../chips/edge16.yaml"
    no_bypass = "no_bypass: true"
    suite = Suite()

    suite.add("clean_one_tile", tiny, "one_tile")
    suite.add("clean_ragged_single_buffer", "chips/single8.yaml", "ragged")
    for site in BITS:
        row, col = numbers.below(8), numbers.below(6)
        suite.add(f"{site}_low_bit", tiny, "one_tile", [stuck(row, col, site, numbers.below(3), 1)], more=no_bypass)
        suite.add(f"{site}_bypassed", tiny, "ragged",
                  [stuck(r, c, site, numbers.below(BITS[site]), numbers.below(2)) for r, c in places(numbers, 8, 5)])
        suite.add(f"{site}_live", "chips/single8.yaml", "ragged",
                  [stuck(r, c, site, numbers.below(BITS[site]), numbers.below(2)) for r, c in places(numbers, 8, 6)],
                  more=no_bypass)
        suite.add(f"{site}_edge16", edge, "large",
                  [stuck(r, c, site, numbers.below(BITS[site]), numbers.below(2)) for r, c in places(numbers, 16, 12)],
                  size=16, more=no_bypass)
    sites = list(BITS)

    def mixed(size, count):
        lines = []
        for row, col in places(numbers, size, count):
            site = sites[numbers.below(5)]
            lines.append(stuck(row, col, site, numbers.below(BITS[site]), numbers.below(2)))
        return lines

    suite.add("mixed_bypassed", edge, "large", mixed(16, 25), size=16)
    suite.add("mixed_live", edge, "large", mixed(16, 25), size=16, more=no_bypass)
    lines = mixed(8, 10)
    # Half of the faults found, two PEs falsely accused.
    known = {line[:line.index(", site")] for line in lines[:5]} | {"row: 0, col: 7", "row: 3, col: 7"}
    suite.add("other_bypass_map", tiny, "ragged", lines, bypass_lines=sorted(known))
    suite.add("escapes", tiny, "ragged", [line + (", escape: true" if i % 2 else "")
                                          for i, line in enumerate(mixed(8, 8))])
    suite.add("unknown_nature", tiny, "ragged", [f"row: {r}, col: {c}" for r, c in places(numbers, 8, 9)])
    suite.add("whole_row", tiny, "ragged", ["row: 3, col: all"])
    suite.add("whole_columns", tiny, "ragged", ["row: all, col: 2-4"])
    suite.add("two_sites_of_one_pe", tiny, "one_tile", [
        stuck(4, 3, "weight_register", 6, 1), stuck(4, 3, "adder", 12, 0), stuck(4, 3, "psum_register", 9, 1)],
        more=no_bypass)
    suite.add("activation_chain", tiny, "one_tile", [
        stuck(2, 1, "activation_register", 0, 1), stuck(2, 3, "activation_register", 4, 0),
        stuck(2, 4, "multiplier", 7, 1), stuck(2, 6, "activation_register", 7, 1)], more=no_bypass)
    suite.add("column_of_psums", tiny, "ragged", [stuck(r, 5, "psum_register", 3 + r, r % 2) for r in range(8)])
    suite.add("chip_without_bypass", "chips/plain8.yaml", "ragged", mixed(8, 6))
    suite.add("narrow_accumulators", "chips/narrow8.yaml", "ragged", [
        stuck(1, 1, "adder", 17, 1), stuck(5, 6, "psum_register", 16, 0), stuck(6, 2, "multiplier", 15, 1)],
        more=no_bypass)
    grid = places(numbers, 8, 7)
    suite.add("csv_grid", tiny, "ragged", raw=("csv_grid.csv", "".join(
        ",".join("1" if (r, c) in grid else "0" for c in range(8)) + "\n" for r in range(8))))
    suite.add("compressed", edge, "large", raw=("compressed.yaml.gz", gzip.compress(
        fault_map("compressed", 16, mixed(16, 30)).encode(), mtime=0)))
    suite.add("network_bypassed", tiny, "network_workload", [f"row: {r}, col: {c}" for r, c in places(numbers, 8, 12)])
    suite.add("network_channel_mapping", "chips/channel8.yaml", "network_workload",
              [f"row: {r}, col: {c}" for r, c in places(numbers, 8, 12)])
    suite.add("network_live", tiny, "network_workload", mixed(8, 5), more=no_bypass)
    suite.add("network_channel_live", "chips/channel8.yaml", "network_workload", mixed(8, 5), more=no_bypass)
    write("shipped.yaml", suite.text())


if __name__ == "__main__":
    main()
