"""Expectation maximisation on a file of 4 GB: how much memory it takes, and that the answer is the one from memory.

    python benchmarks/scale.py --folder /where/4/GB/fit

The file holds 16 numbers a row, drawn from overlapping clusters. A mixture is fitted to it twice for a fixed number of passes,
each time in a process of its own: once with the rows left in the file, once with all of them in memory. ``RssAnon``, the memory
that a process has taken up for itself and cannot give back, is read fifty times a second; pages of the file that the system
keeps are not part of it. Both start from the same random rows, so that both should end with the same parameters, but for the
order in which float64 sums are added up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beyond_memory import Peak
from machine import machine

import pmodel

ENTRIES, COMPONENTS = 16, 4
ROWS_AT_A_TIME = 2**20
RESULT = Path(__file__).parent / "results" / "scale.json"


def write(path: Path, size: int) -> int:
    """Rows of float32 from twelve correlated clusters, as many as fill ``size`` bytes."""
    g = np.random.default_rng(0)
    rows, centres = size // (4 * ENTRIES), g.normal(size=(12, ENTRIES)).astype(np.float32) * 2
    mix = g.normal(size=(ENTRIES, ENTRIES)).astype(np.float32) / 2
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, ENTRIES)})
        for start in range(0, rows, ROWS_AT_A_TIME):
            n = min(ROWS_AT_A_TIME, rows - start)
            noise = g.standard_normal((n, ENTRIES), dtype=np.float32) @ mix
            (centres[g.integers(len(centres), size=n)] + noise).tofile(file)
    return rows


def fitted(path: Path, passes: int, *, mapped: bool) -> dict[str, Any]:
    """A fit, as numbers: the parameters, the seconds, and the most memory."""
    torch.set_num_threads(os.cpu_count() or 1)
    peak = Peak()
    data = pmodel.load_data(path, mapped=True)
    if not mapped:
        data = replace(data, train=replace(data.train, x=data.train.x[:]))
    began = time.perf_counter()
    model = pmodel.fit("mixture", data, components=COMPONENTS, covariance="full", shrinkage=0.0, steps=passes)
    seconds = time.perf_counter() - began
    inner = model.model
    return {
        "training_rows": len(data.train),
        "seconds": round(seconds, 1),
        "peak_anonymous_bytes": peak.end(),
        "weights": inner.weights.tolist(),
        "means": inner.means.tolist(),
        "factors": inner.parts.scale_tril.tolist(),
    }


def apart(path: Path, passes: int, side: str) -> dict[str, Any]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--side", side, "--file", str(path), "--passes", str(passes)]
    ended = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the file goes; it is deleted afterwards")
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--side", choices=("mapped", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(fitted(chosen.file, chosen.passes, mapped=chosen.side == "mapped")))
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(folder) / "rows.npy"
        rows = write(path, int(chosen.gigabytes * 1e9))
        size = path.stat().st_size
        sides = {side: apart(path, chosen.passes, side) for side in ("mapped", "memory")}
    gaps = {
        name: float(np.abs(np.subtract(sides["mapped"][name], sides["memory"][name])).max())
        for name in ("weights", "means", "factors")
    }
    kept = ("training_rows", "seconds", "peak_anonymous_bytes")
    result = {
        "protocol": f"{rows} rows of {ENTRIES} float32, {COMPONENTS} full covariances, {chosen.passes} passes, same start",
        "file_bytes": size,
        "mixture": {side: {name: found[name] for name in kept} for side, found in sides.items()},
        "largest_difference": gaps,
        "machine": machine(),
    }
    chosen.out.parent.mkdir(exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
