"""Training on a file of 8 GB that stays on the disk against training on data in memory, under a limit of 1 GiB of memory.

    PMODEL_DATA=... python benchmarks/beyond_memory.py --folder /where/8/GB/fit

The file holds pictures of MNIST over and over, each time with other noise. The sides take turns, each a whole ``pmodel.fit``
of as many steps: the first 70 000 pictures in memory, and the file. With ``--cold`` a third side takes the file after the
system has been made to forget what it had read of it: that measures the disk. Images a second are counted from the first
report of a run to its last. The limit (``RLIMIT_DATA``) is on all memory that the process may write, taken up or not;
``RssAnon``, what it has taken up, is read fifty times a second.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import resource
import statistics
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pmodel
from pmodel.data import Dataset, from_arrays, load_data
from pmodel.train.events import Event, Stepped

LIMIT = 2**30
RESIDENT = 70_000
CASES = {"base": 60, "tiny": 600}
"""Steps in a round, by the size of the VAE."""
RESULT = Path(__file__).parent / "results" / "beyond_memory.json"


class Peak:
    """The most anonymous memory in use so far, watched from a thread."""

    def __init__(self) -> None:
        self.bytes, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
            self.bytes = max(self.bytes, 1024 * int(found[1]) if found else 0)

    def end(self) -> int:
        """Stop watching."""
        self._over.set()
        self._thread.join()
        return self.bytes


def write(path: Path, size: int) -> None:
    """Pictures of MNIST with noise in their lowest three bits, as many as fill ``size`` bytes."""
    pictures = load_data("mnist").train.x[:].numpy()
    noise, count = np.random.default_rng(0), size // pictures[0].size
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *pictures.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, len(pictures)):
            part = pictures[: count - start]
            (part ^ noise.integers(0, 8, part.shape, np.uint8)).tofile(file)
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Let the system drop what it holds of the file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def speed(data: Dataset, size: str, steps: int) -> float:
    """Images a second of one run."""
    reports: list[Stepped] = []

    def note(event: Event) -> None:
        if isinstance(event, Stepped):
            reports.append(event)

    pmodel.fit("vae", data, size=size, steps=steps, settings={"select": "last"}, precision="float32", on_event=note)
    first, last = reports[0], reports[-1]
    return (last.images - first.images) / (last.seconds - first.seconds)


def compare(sides: dict[str, Callable[[], Dataset]], size: str, steps: int, rounds: int) -> dict[str, Any]:
    """The speeds of the sides in turn, after a round to warm up, and their ratios to the first."""
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, data in sides.items():
            found = speed(data(), size, steps)
            if number:
                speeds[name].append(found)
    ratios = {
        name: round(statistics.median(a / b for a, b in zip(found, speeds["resident"], strict=True)), 3)
        for name, found in speeds.items()
        if name != "resident"
    }
    return {"images_per_second": {k: round(statistics.median(v)) for k, v in speeds.items()}, "ratio": ratios}


def measured(path: Path, rounds: int, *, cold: bool) -> dict[str, Any]:
    """All cases, under the limit."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    peak = Peak()
    resident = from_arrays(np.load(path, mmap_mode="r")[:RESIDENT])

    def mapped() -> Dataset:
        return load_data(path, mapped=True)

    def forgotten() -> Dataset:
        gc.collect()  # pages that a mapping holds are not forgotten
        forget(path)
        return mapped()

    sides = {"resident": lambda: resident, "mapped": mapped} | ({"cold": forgotten} if cold else {})
    results = {size: compare(sides, size, steps, rounds) for size, steps in CASES.items()}
    return {
        "vae": results,
        "file_bytes": path.stat().st_size,
        "training_pictures": len(mapped().train),
        "limit_bytes": LIMIT,
        "peak_anonymous_bytes": peak.end(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the file goes; it is deleted afterwards")
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cold", action="store_true", help="train from the disk, too")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(folder) / "pictures.npy"
        write(path, int(chosen.gigabytes * 1e9))
        result = measured(path, chosen.rounds, cold=chosen.cold)
    result["protocol"] = f"{chosen.rounds} interleaved rounds, {CASES} steps of 128 pictures, medians; float32; seed 0"
    result["machine"] = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    chosen.out.parent.mkdir(exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
