"""A hidden Markov model of sequences on the disk: peak memory, the same answer as from memory, and what a pass costs.

    python benchmarks/scale_hmm.py --folder /where/4/GB/fit

A model is fitted to the mapped file for two passes, while the anonymous memory in use is watched; another one to the first part
of the file, from the disk and from memory, and their parameters are compared. Passes are timed against the number of
sequences, of states and of entries, one changed at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beyond_memory import Peak
from machine import machine
from torch import Tensor

import pmodel
from pmodel.data import Dataset, Split
from pmodel.data.mapped import Mapped
from pmodel.data.row_file import RowFile
from pmodel.domain import Real, Sequences
from pmodel.learning import Batch

RESULT = Path(__file__).parent / "results" / "scale_hmm.json"
PASSES, PART = 2, 2000
"""Passes over the file, and the sequences in the part that is read both ways."""
LONGEST = 500
SEQUENCES, STATES, ENTRIES = 200, 8, 4
"""What cost is measured around."""


def chains(domain: Sequences, n: int, g: np.random.Generator) -> np.ndarray:
    """Sequences of half to all of the longest length, around centres that change."""
    longest, entries = domain.longest, domain.element.entries
    place = (g.random((n, longest)) < 0.1).cumsum(1) % 5
    x = (3 * place[..., None] + g.normal(size=(n, longest, entries))).astype(np.float32)
    x[np.arange(longest) >= g.integers(longest // 2, longest + 1, size=n)[:, None]] = np.inf
    return x


def domain_of(entries: int) -> Sequences:
    """Sequences of that many numbers."""
    return Sequences(Real((entries,)), LONGEST)


def write(path: Path, domain: Sequences, size: int) -> int:
    """As many data as fill ``size`` bytes; their number."""
    g, each = np.random.default_rng(0), 4 * domain.entries
    count, part = size // each, 2**25 // each
    with path.open("wb") as file:
        for start in range(0, count, part):
            chains(domain, min(part, count - start), g).tofile(file)
        os.fsync(file.fileno())
    return count


def mapped(path: Path, domain: Sequences, count: int, rows: int) -> Dataset:
    """The first rows of the file as training data, which stay there."""
    file = RowFile(path, 0, np.dtype(np.float32), (count, *domain.shape))
    train = Mapped(file, torch.arange(rows), torch.from_numpy)
    few = Split(train[torch.arange(min(rows, 100))])
    return Dataset("on the disk", domain, Split(train), few, few)


def learned(data: Dataset, passes: int) -> tuple[Any, float]:
    """The model, and its seconds."""
    began = time.perf_counter()
    model = pmodel.fit("hmm", data, steps=passes, states=STATES, covariance="full")
    return model, time.perf_counter() - began


def seconds(n: int, states: int, entries: int, rounds: int = 3) -> float:
    """The median time of a pass over data in memory."""
    domain = domain_of(entries)
    model: Any = pmodel.make("hmm", domain, states=states, covariance="full")
    x = torch.from_numpy(chains(domain, n, np.random.default_rng(0)))
    noise = torch.Generator().manual_seed(0)
    spent = []
    with torch.no_grad():
        model.prepare(x, None, noise)
        model.initialise(Batch(x[: max(50, n // 10)]), noise)
        for _ in range(rounds):
            began = time.perf_counter()
            model.maximise(model.statistics(Batch(x), noise))
            spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def cost() -> dict[str, list[tuple[int, float]]]:
    """The seconds of a pass, one number changed at a time."""
    return {
        "sequences": [(n, seconds(n, STATES, ENTRIES)) for n in (200, 400, 800, 1600)],
        "states": [(K, seconds(SEQUENCES, K, ENTRIES)) for K in (2, 4, 8, 16, 32, 64, 128)],
        "entries": [(D, seconds(SEQUENCES, STATES, D)) for D in (1, 2, 4, 8, 16, 32)],
    }


def largest_difference(a: Any, b: Any) -> float:
    """Between the parameters of two models, relative to one."""
    pairs: list[tuple[Tensor, Tensor]] = list(zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    return max(float(((x - y).abs() / (1 + y.abs())).max()) for x, y in pairs if x.numel())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the file goes; it is deleted afterwards")
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--without-cost", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    domain = domain_of(ENTRIES)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        path = Path(folder) / "data.bin"
        count = write(path, domain, int(chosen.gigabytes * 1e9))
        peak = Peak()
        _, spent = learned(mapped(path, domain, count, count), PASSES)
        bytes_used = peak.end()
        part = mapped(path, domain, count, min(count, PART))
        there, _ = learned(part, 5)
        held = Dataset("in memory", domain, Split(part.train.x[:]), part.valid, part.test)
        here, _ = learned(held, 5)
    result = {
        "file_bytes": count * 4 * domain.entries,
        "data": count,
        "passes": PASSES,
        "seconds": round(spent, 1),
        "peak_anonymous_bytes": bytes_used,
        "largest_difference_from_memory": largest_difference(there, here),
        "cost": None if chosen.without_cost else cost(),
        "states": STATES,
        "machine": machine(),
        "load_average_at_end": os.getloadavg()[0],
    }
    chosen.out.parent.mkdir(exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
