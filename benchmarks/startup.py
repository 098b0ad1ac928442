"""How long a user waits before anything happens: fresh processes, interleaved.

    python benchmarks/startup.py

A round starts each process once; the order rotates, and the medians over the rounds are reported: wall time, and the processor
time of the process, which a busy machine disturbs less. An empty Python is the floor that no package is under. The targets are
0.4 s for ``pmodel models`` and 0.2 s for ``import pmodel``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "startup.json"
PROCESSES = {
    "python -c pass": ["-c", "pass"],
    "import pmodel": ["-c", "import pmodel"],
    "pmodel --help": ["-m", "pmodel", "--help"],
    "pmodel models": ["-m", "pmodel", "models"],
    "pmodel models --json": ["-m", "pmodel", "models", "--json"],
}
TARGETS = {"import pmodel": 0.2, "pmodel models": 0.4}


def timed(words: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    args = parser.parse_args()
    names = list(PROCESSES)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for name in names:
        timed(PROCESSES[name])  # once, so that the bytecode is compiled and the files are in memory
    for number in range(args.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(timed(PROCESSES[name]))
    rows = {
        name: {
            "wall_median": statistics.median(wall for wall, _ in found),
            "wall_best": min(wall for wall, _ in found),
            "processor_median": statistics.median(processor for _, processor in found),
            "target": TARGETS.get(name),
        }
        for name, found in times.items()
    }
    result = {
        "protocol": {"rounds": args.rounds, "order": "rotating", "start": "fresh process, warm files"},
        "machine": {
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "python": platform.python_version(),
        },
        "seconds": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, row in rows.items():
        target = f", target {row['target']} s" if row["target"] else ""
        print(f"{name:<22} {row['wall_median']:.3f} s wall, {row['processor_median']:.3f} s processor{target}")


if __name__ == "__main__":
    main()
