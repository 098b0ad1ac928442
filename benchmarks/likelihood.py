"""What models with a likelihood reach on MNIST in a given time: the tables of docs/likelihood.md.

    PMODEL_DATA=... python benchmarks/likelihood.py [TABLE[:ROW]]…

``ten``: ten minutes of training each on ``mnist-binary``, nats of all 10 000 test images. Training pictures are drawn anew from
their grey levels for every batch; those that are scored were drawn once and for all. ``long``: the same, longer. ``grey``:
fifteen minutes each on the 256 grey levels of ``mnist``, in bits per dimension. All have the default options and recipe of
their model but for what ``ROWS`` lists. The weights that are scored are those of the best validation score, so nothing is
chosen on test data. Runs stay in ``runs/likelihood``: started again, the script goes on with one that was stopped, and only
measures one that is whole. Each row is kept in ``results/likelihood/TABLE-ROW.json`` with its curve, and with the processor's
seconds where one process trained it: on a busy machine, the clock cuts a run at one and a half times its minutes.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import machine

import pmodel
from pmodel.storage import read_json

SEED = 0
MINUTES = {"ten": 10, "grey": 15}
DATA = {"ten": "mnist-binary", "long": "mnist-binary", "grey": "mnist"}
HUNDRED = 100
"""Draws of an importance-weighted bound for each image."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        model: Its name in the catalogue.
        options: Those that are not the default.
        effort: Draws of a bound for each image, or of an estimate; 1 where the likelihood is exact, the encoder a map, or the
            bound that of dequantised data.
    """

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    effort: int = 1


ROWS = {
    "fvbn": Row("fvbn"),
    "nade": Row("nade"),
    "made": Row("made"),
    "pixelcnn": Row("pixelcnn"),
    "pixelcnn-plain": Row("pixelcnn", {"form": "plain"}),
    "pixelrnn-row": Row("pixelrnn", {"cell": "row"}),
    "pixelrnn-diagonal": Row("pixelrnn", {"cell": "diagonal"}),
    "transformer": Row("transformer"),
    "vae": Row("vae", effort=HUNDRED),
    "vae-ladder": Row("vae", {"ladder": 3}, HUNDRED),
    "vqvae": Row("vqvae"),
    "dvae": Row("dvae", effort=16),
    "rbm": Row("rbm", effort=16),
    "realnvp": Row("realnvp"),
    "glow": Row("glow"),
    "realnvp-variational": Row("realnvp", {"dequantisation": "variational"}),
    "glow-variational": Row("glow", {"dequantisation": "variational"}),
}
GREY = ("pixelcnn", "realnvp", "realnvp-variational", "glow", "glow-variational")
LONG = {
    "nade": 25,
    "made": 45,
    "pixelcnn": 45,
    "pixelrnn-diagonal": 30,
    "pixelrnn-row": 30,
    "transformer": 30,
    "vae": 30,
    "vae-ladder": 45,
    "rbm": 80,
}
TABLES = {
    "ten": tuple(row for row in ROWS if row == "pixelcnn" or row not in GREY),
    "long": tuple(LONG),
    "grey": GREY,
}
KEPT = {"best": "best on validation data", "last": "last weights"}
HERE = Path(__file__).resolve().parent
RESULTS, RUNS = HERE / "results" / "likelihood", HERE.parent / "runs" / "likelihood"


def measured(table: str, row: str) -> dict[str, Any]:
    """A row: the model is trained, unless its run is whole, and scored on all test data."""
    chosen, data = ROWS[row], pmodel.load_data(DATA[table])
    minutes = LONG[row] if table == "long" else MINUTES[table]
    folder = RUNS / f"{table}-{row}"
    begun, busy = (folder / "run.json").exists(), time.process_time()
    model = pmodel.fit(chosen.model, data, budget=60.0 * minutes, seed=SEED, out=folder, resume=True, **chosen.options)
    busy = time.process_time() - busy
    record, found = read_json(folder / "run.json"), model.score(data.test.x, effort=chosen.effort, generator=SEED)
    plan, result = record["plan"], record["result"]
    return {
        "model": chosen.model,
        "options": chosen.options,
        "data": data.name,
        "nats": round(-found.mean, 3),
        "stderr": round(found.stderr, 3),
        "kind": found.kind,
        "estimator": found.estimator,
        "n": found.n,
        "minutes": minutes,
        "training_seconds": round(result["seconds"]),
        "processor_seconds": None if begun else round(busy),
        "images_seen": result["images"],
        "parameters": model.size,
        "arithmetic": f"{plan['precision']}, {plan['layout']}, {plan['threads']} threads",
        "curve": curve(folder),
        "protocol": f"seed {SEED}, {KEPT[plan['recipe']['select']]}",
        "machine": machine(),
    }


def curve(folder: Path) -> list[tuple[float, float]]:
    """Seconds of training and the negative log-likelihood of validation data, of each validation."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [(round(e["seconds"], 1), round(-e["value"], 3)) for e in events if e["event"] == "validated"]


def main() -> None:
    """Measure the rows that were asked for, or all."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for asked in sys.argv[1:] or TABLES:
        table, _, chosen = asked.partition(":")
        for row in (chosen,) if chosen else TABLES[table]:
            found = measured(table, row)
            (RESULTS / f"{table}-{row}.json").write_text(json.dumps(found) + "\n")
            print(table, row, found["nats"], "±", found["stderr"], found["training_seconds"], "s", flush=True)


if __name__ == "__main__":
    main()
