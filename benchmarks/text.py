"""Bits per character of strings: counts, hidden states and attention, on the Korean and the English text, in one measure.

    python benchmarks/text.py [ROW]… [--seconds 300]

Every model has an end symbol, so the probabilities of all strings sum to one under each, and one figure compares them all:
minus the log-probability of the test strings, their ends included, over their characters. The n-gram model learns in one pass;
the others have the same time, the default options but for what ``ROWS`` lists, and the weights of the best validation score.
Each row is kept in ``results/text.json``; rows that are not asked for stay as they were.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine

import pmodel
from pmodel.metrics import costs

DATA = ("text-en", "text-ko")
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "ngram-5": ("ngram", {"order": 5}),
    "ngram-8": ("ngram", {"order": 8}),
    "hmm": ("hmm", {}),
    "transformer": ("transformer", {}),
}
SEED = 0
RESULT = Path(__file__).parent / "results" / "text.json"


def bits(model: Any, x: torch.Tensor) -> dict[str, float]:
    """Bits per character of test strings ``(N, longest)``, with its standard error over the strings."""
    x = model.domain.check(x)
    found = model.score(x)
    nats = {"value": found.mean, "stderr": found.stderr}
    cost = costs(nats, found.values, x, model.domain)["bits_per_character"]
    return {"bits": round(cost["value"], 4), "stderr": round(cost["stderr"], 4)}


def measured(name: str, row: str, seconds: float) -> dict[str, Any]:
    """One row of one text."""
    (kind, options), data = ROWS[row], pmodel.load_data(name)
    began = time.perf_counter()
    model = pmodel.fit(kind, data, budget=None if kind == "ngram" else seconds, seed=SEED, **options)
    took = time.perf_counter() - began
    characters = int(data.domain.lengths(data.domain.check(data.train.x)).sum())  # type: ignore[attr-defined]
    return {
        **bits(model, data.test.x),
        "seconds": round(took, 1),
        "parameters": model.size,
        "characters": characters,
        "options": options,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="bits per character")
    parser.add_argument("rows", nargs="*", default=list(ROWS))
    parser.add_argument("--seconds", type=float, default=300.0)
    asked = parser.parse_args()
    for name in DATA:
        for row in asked.rows:
            found = measured(name, row, asked.seconds)
            result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
            result.setdefault(name, {})[row] = found
            result["machine"] = machine()
            RESULT.write_text(json.dumps(result, indent=2) + "\n")
            print(name, row, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
