"""What an energy-based model makes of digits: the share of its samples that are clearly some class, which, and their distance.

    PMODEL_DATA=... python benchmarks/ebm_quality.py [digits] [digits-chains] [mnist]

Every row is one run with the default options and recipe. It has a number of steps, not a budget, so that it is the same
whatever else the machine does, and its processor time is measured: on cores that are free it takes no longer, and the bar is
fifteen minutes. ``digits`` are scikit-learn's 8x8 pictures; ``digits-chains`` is the other objective, by chains, on them.

Of 1 000 samples, 360 of ``digits`` because there are no more to compare them with: the share of which the judge is sure, to .9
or more, and the share of each class among these; FID, with that of training pictures as its floor.

Runs stay in ``runs/ebm``: started again, the script goes on with one that was stopped and measures one that is whole.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from machine import machine

import pmodel
from pmodel.evaluation import Bench
from pmodel.storage import read_json, write_json

SEED = 0
ROWS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "digits": ("digits", 600, 360, {}),
    "digits-chains": ("digits", 600, 360, {"objective": "likelihood"}),
    "mnist": ("mnist", 2000, 1000, {}),
}
"""Data, steps, samples, and options, of each row."""
HERE = Path(__file__).resolve().parent
RESULTS, RUNS = HERE / "results", HERE.parent / "runs" / "ebm"


def trained(row: str, data: pmodel.Dataset, steps: int, **options: Any) -> tuple[Any, int]:
    """A model, and the processor time of its training, whose parts add up where it was stopped between."""
    path, began = RUNS / f"{row}.json", time.process_time()
    before = read_json(path)["processor_seconds"] if path.is_file() else 0.0
    try:
        model = pmodel.fit("ebm", data, steps=steps, seed=SEED, out=RUNS / row, resume=True, **options)
    finally:
        spent = before + time.process_time() - began
        RUNS.mkdir(parents=True, exist_ok=True)
        write_json(path, {"processor_seconds": spent})
    return model, round(spent)


def measured(row: str) -> dict[str, Any]:
    """A run, and what is measured of its samples."""
    name, steps, n, options = ROWS[row]
    data = pmodel.load_data(name)
    model, spent = trained(row, data, steps, **options)
    record = read_json(RUNS / row / "run.json")
    plan, result = record["plan"], record["result"]
    bench = Bench(data, n=n, seed=SEED)
    began = time.process_time()
    samples = model.sample(n, generator=SEED)
    drawing = time.process_time() - began
    found = bench.fidelity(samples)
    counts = found["judge"]["counts"]
    return {
        "data": name,
        "options": options,
        "steps": plan["steps"],
        "processor_seconds": spent,
        "images_seen": result["images"],
        "arithmetic": f"{plan['precision']}, {plan['layout']}",
        "parameters": model.size,
        "samples": n,
        "processor_seconds_of_sampling": round(drawing),
        "clear": {key: round(found["judge"][key], 4) for key in ("value", "stderr", "floor")},
        "share_of_each_class": [round(count / max(1, sum(counts)), 3) for count in counts],
        "fid": {key: round(found["fid"][key], 2) for key in ("value", "stderr", "floor")},
    }


def main() -> None:
    """Measure the rows that were asked for, or all."""
    path = RESULTS / "ebm-quality.json"
    for row in sys.argv[1:] or ROWS:
        found = {**measured(row), "machine": machine()}
        others = read_json(path)["rows"] if path.is_file() else {}  # some may have been measured meanwhile
        rows = {**others, row: found}
        result = {"protocol": f"default recipe, seed {SEED}; the judge's confidence is .9 or more", "rows": rows}
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(row, json.dumps(found, indent=2), flush=True)


if __name__ == "__main__":
    main()
