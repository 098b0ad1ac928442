"""Whether two codes show height and width of tins, and edits change one alone: examples/tins.py from several first weights.

    python benchmarks/tins.py [--decoder residual] [--seeds 0 1]

The data are the same each time; the first weights and the order of the batches differ. An edit asks for three pixels more,
along one direction for all tins; its figures are what drawn tins change by for each pixel asked for, as means over the tins.
Beside the example's decoder stands that of the architecture ``residual``, with the same encoder and the same settings.
Trainings are kept in runs/tins, and the result is of all that are there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from machine import machine

import pmodel

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import tins  # noqa: E402

DECODERS = ("broadcast", "residual")
ROWS = Path("runs") / "tins"
RESULT = ROOT / "benchmarks" / "results" / "tins.json"


def measured(data: pmodel.data.Dataset, decoder: str, seed: int) -> dict[str, Any]:
    """One training, and what is read and edited."""
    began = time.process_time()
    model = tins.learned(data, seed, architecture=decoder, layers=0)
    spent = time.process_time() - began
    reading = tins.read(model, data)
    edits = {name: tins.judged(model, reading, data, factor) for factor, name in enumerate(tins.NAMES)}
    return {
        "explained": dict(zip(tins.NAMES, tins.shown(model, reading, data).tolist(), strict=True)),
        "edits": {name: dict(zip(tins.NAMES, edit.change.tolist(), strict=True)) for name, edit in edits.items()},
        "edited": {name: edit.n for name, edit in edits.items()},
        "processor_seconds": round(spent),
    }


def spread(each: list[float]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    return {"mean": statistics.mean(each), "std": statistics.stdev(each), "each": each}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All trainings with one decoder."""
    names = tins.NAMES
    return {
        "trainings": len(rows),
        "explained": {name: spread([row["explained"][name] for row in rows]) for name in names},
        "edits": {of: {on: spread([row["edits"][of][on] for row in rows]) for on in names} for of in names},
        "edited": rows[0]["edited"],
        "processor_seconds": spread([row["processor_seconds"] for row in rows]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decoder", choices=DECODERS, default=DECODERS[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[*range(5)])
    asked, data = parser.parse_args(), pmodel.load_data("tins")
    ROWS.mkdir(parents=True, exist_ok=True)
    for seed in asked.seeds:
        text = json.dumps(measured(data, asked.decoder, seed))
        (ROWS / f"{asked.decoder}-{seed}.json").write_text(text)
        print(asked.decoder, seed, text, flush=True)
    kept = {name: [json.loads(path.read_text()) for path in sorted(ROWS.glob(f"{name}-*.json"))] for name in DECODERS}
    result = {
        "model": {"name": "autoencoder", **tins.OPTIONS, "steps": tins.STEPS, **tins.SETTINGS},
        "decoders": {name: summary(rows) for name, rows in kept.items() if len(rows) > 1},
        "protocol": f"{tins.STEPS} steps; {len(data.test)} test tins are read, and those are edited of which there could be "
        f"such a one in the data; an edit asks for {tins.STEP:g} pixels",
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
