"""Expectation maximisation on a file of 4 GB: how much memory it takes, and that the answer is the one from memory.

    python benchmarks/scale.py --folder /where/4/GB/fit
    python benchmarks/scale.py --models hmm

The file holds rows of 16 numbers from overlapping clusters for the mixture, and for the hidden Markov model sequences of 250 to
500 elements of four numbers. A model is fitted to it twice for a fixed number of passes, each time in a process of its own:
once with the data left in the file, once with all of them in memory. ``RssAnon``, the memory that a process has taken up for
itself and cannot give back, is read fifty times a second, from before the data are loaded until after the fit (reading them all
into memory takes twice their size for a moment); pages of the file that the system keeps are not part of it. Both start from
the same random data and take them in the same blocks, so that both should end with the same parameters, but for the order in
which float64 sums are added up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beyond_memory import Peak
from machine import machine
from numpy.typing import NDArray

import pmodel

CLUSTERS, CENTRES, LONGEST = 12, 5, 500
PART = 2**26
"""Bytes that are drawn at a time."""
RESULT = Path(__file__).parent / "results" / "scale.json"

Draw = Callable[[int], NDArray[np.float32]]
"""From a number of data to as many of them."""


def clusters(shape: tuple[int, ...], g: np.random.Generator) -> Draw:
    """Rows from correlated clusters."""
    entries = math.prod(shape)
    centres = g.normal(size=(CLUSTERS, entries)).astype(np.float32) * 2
    mix = g.normal(size=(entries, entries)).astype(np.float32) / 2

    def draw(n: int) -> NDArray[np.float32]:
        noise = g.standard_normal((n, entries), dtype=np.float32) @ mix
        return (centres[g.integers(CLUSTERS, size=n)] + noise).astype(np.float32, copy=False)

    return draw


def chains(shape: tuple[int, ...], g: np.random.Generator) -> Draw:
    """Sequences of half to all of the longest length, around centres that change at one element in ten."""
    longest, entries = shape

    def draw(n: int) -> NDArray[np.float32]:
        place = (g.random((n, longest)) < 0.1).cumsum(1) % CENTRES
        x = g.standard_normal((n, longest, entries), dtype=np.float32)
        x += 3 * place[..., None].astype(np.float32)
        x[np.arange(longest) >= g.integers(longest // 2, longest + 1, size=n)[:, None]] = np.inf
        return x

    return draw


@dataclass(frozen=True)
class Case:
    """A model and its data.

    Args:
        shape: Of a datum in the file.
        draws: What draws the data.
        fit: The model's options.
        load: Those of the data.
    """

    shape: tuple[int, ...]
    draws: Callable[[tuple[int, ...], np.random.Generator], Draw]
    fit: Mapping[str, Any]
    load: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "mixture": Case((16,), clusters, {"components": 4, "covariance": "full", "shrinkage": 0.0}),
    "hmm": Case((LONGEST, 4), chains, {"states": 8, "covariance": "full"}, {"sequences": True}),
}


def write(path: Path, case: Case, size: int) -> int:
    """As many data as fill ``size`` bytes, float32; their number."""
    each = 4 * math.prod(case.shape)
    count, part, draw = size // each, PART // each, case.draws(case.shape, np.random.default_rng(0))
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, *case.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, part):
            draw(min(part, count - start)).tofile(file)
        file.flush()
        os.fsync(file.fileno())  # else the system writes while the first side is timed
    return count


def fitted(name: str, path: Path, passes: int, *, mapped: bool) -> dict[str, Any]:
    """A fit, as numbers: the seconds, the most memory, and every tensor of the model."""
    case, peak = CASES[name], Peak()
    data = pmodel.load_data(path, mapped=True, **case.load)
    if not mapped:
        data = replace(data, train=replace(data.train, x=data.train.x[:]))
    began = time.perf_counter()
    model = pmodel.fit(name, data, steps=passes, **case.fit)
    seconds = time.perf_counter() - began
    return {
        "training_data": len(data.train),
        "seconds": round(seconds, 1),
        "peak_anonymous_bytes": peak.end(),
        "tensors": {key: tensor.tolist() for key, tensor in model.state_dict().items() if tensor.numel()},
    }


def apart(name: str, path: Path, passes: int, side: str) -> dict[str, Any]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--models", name, "--side", side, "--file", str(path), "--passes", str(passes)]
    ended = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def gaps(mapped: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, float]:
    """The largest difference in each tensor, relative to one more than the size of its value in memory."""
    pairs = {key: (np.asarray(mapped[key]), np.asarray(memory[key])) for key in memory}
    return {key: float((np.abs(a - b) / (1 + np.abs(b))).max()) for key, (a, b) in pairs.items()}


def measured(name: str, folder: Path | None, size: int, passes: int) -> dict[str, Any]:
    """Both sides of one model, on a file that is deleted afterwards."""
    case = CASES[name]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(own) / "data.npy"
        count = write(path, case, size)
        file_bytes = path.stat().st_size
        sides = {side: apart(name, path, passes, side) for side in ("mapped", "memory")}
    tensors = {side: found.pop("tensors") for side, found in sides.items()}
    options = ", ".join(f"{option}={value}" for option, value in case.fit.items())
    return {
        "protocol": f"{count} data of shape {case.shape} in float32; {options}; {passes} passes, same start",
        "file_bytes": file_bytes,
        **sides,
        "largest_differences": gaps(**tensors),
        "machine": machine(),
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES), help="rows of others stay")
    parser.add_argument("--folder", type=Path, help="where the files go; they are deleted afterwards")
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--side", choices=("mapped", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def main() -> None:
    chosen = parsed()
    torch.set_num_threads(os.cpu_count() or 1)
    if chosen.side:
        print(json.dumps(fitted(chosen.models[0], chosen.file, chosen.passes, mapped=chosen.side == "mapped")))
        return
    chosen.out.parent.mkdir(exist_ok=True)
    result: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {"models": {}}
    for name in chosen.models:
        result["models"][name] = measured(name, chosen.folder, int(chosen.gigabytes * 1e9), chosen.passes)
        chosen.out.write_text(json.dumps(result, indent=2) + "\n")
        print(name, json.dumps(result["models"][name], indent=2), flush=True)


if __name__ == "__main__":
    main()
