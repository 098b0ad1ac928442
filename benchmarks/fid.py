"""FID from features against torchmetrics, interleaved in one process; the peak memory of each in processes of their own.

    pip install --no-deps torchmetrics lightning-utilities  # without torch-fidelity, which would want torchvision
    python benchmarks/fid.py

Both sides get the same float64 features of 2 048 dimensions, whose scales fall by three orders of magnitude, and keep what they
can of 10 000 real data beforehand: torchmetrics its sums (``reset_real_features=False``), pmodel its factor. What is timed is
the distance of samples from them, once 10 000 and once 256, from features to the number. The ratio is the median over rounds.
The peak is how far the memory of a process rises above what it holds before, features and reference included.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine
from torch import Tensor, nn

from pmodel.metrics.fid import Moments, frechet_distance
from pmodel.randomness import generator

ROUNDS, REAL, DIMENSIONS = 5, 10_000, 2048
SAMPLES = (10_000, 256)
RESULT = Path(__file__).parent / "results" / "fid.json"

Distance = Callable[[Tensor], float]


def features(n: int, shift: float, seed: int) -> Tensor:
    """Correlated, and not negative, as a network's are."""
    draws = torch.randn(n, DIMENSIONS, generator=generator(seed, "fid"), dtype=torch.float64)
    mixing = torch.linalg.qr(
        torch.randn(DIMENSIONS, DIMENSIONS, generator=generator(0, "mixing"), dtype=torch.float64)
    ).Q
    return ((draws * torch.logspace(0, -3, DIMENSIONS, dtype=torch.float64)) @ mixing + shift).relu()


def of_pmodel(real: Tensor) -> Distance:
    reference = Moments.of(real)
    frechet_distance(reference, reference)  # the factor is kept
    return lambda samples: frechet_distance(reference, Moments.of(samples))


def of_torchmetrics(real: Tensor) -> Distance:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(Features(), reset_real_features=False)
    metric.update(real, real=True)

    def distance(samples: Tensor) -> float:
        metric.reset()
        metric.update(samples, real=False)
        return float(metric.compute())

    return distance


class Features(nn.Module):
    """What torchmetrics takes for a network: its features are its input."""

    num_features = DIMENSIONS

    def forward(self, x: Tensor) -> Tensor:
        """As it is."""
        return x


SIDES = {"pmodel": of_pmodel, "torchmetrics": of_torchmetrics}


def raced(n: int, sides: dict[str, Distance]) -> dict[str, object]:
    """Seconds of each, their ratio, and how far the values are apart."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    apart = []
    for seed in range(1, 1 + ROUNDS):
        samples, values = features(n, 0.12, seed), []
        for name, distance in sides.items():
            began = time.perf_counter()
            values.append(distance(samples))
            seconds[name].append(time.perf_counter() - began)
        apart.append(abs(values[0] / values[1] - 1))
    ratios = [slow / fast for slow, fast in zip(seconds["torchmetrics"], seconds["pmodel"], strict=True)]
    return {
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "ratio": round(statistics.median(ratios), 1),
        "relative_difference": max(apart),
        "peak_mib": {name: peak(name, n) for name in sides},
    }


def peak(side: str, n: int) -> int:
    """What a process of its own needs for one distance, in MiB."""
    command = [sys.executable, __file__, side, str(n)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured_here(side: str, n: int) -> int:
    """The rise of this process's memory; Linux only."""
    distance, samples = SIDES[side](features(REAL, 0.1, 0)), features(n, 0.12, 1)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free already is nobody's
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = memory("VmRSS")
    distance(samples)
    return (memory("VmHWM") - before) // 1024


def memory(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))


def main() -> None:
    real = features(REAL, 0.1, 0)
    sides = {name: prepared(real) for name, prepared in SIDES.items()}
    result = {
        **{str(n): raced(n, sides) for n in SAMPLES},
        "protocol": f"{ROUNDS} interleaved rounds of {DIMENSIONS} features, medians; {REAL} real data kept beforehand",
        "machine": machine(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(measured_here(sys.argv[1], int(sys.argv[2])))
    else:
        main()
