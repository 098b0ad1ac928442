"""Modes of Stacked MNIST that DCGANs find in a stated time: of 1 000, on 26 000 samples.

    PMODEL_DATA=... python benchmarks/stacked.py [ROW]… [--budget 1800] [--seed 0] [--threads N]

``default`` has the model's own options. ``unstabilised`` is the game of the first DCGAN (``loss=nonsaturating penalty=0``),
``minimax`` that of 2014, and ``packed`` the unstabilised one whose discriminator judges two pictures at once, which is what
PacGAN cures it by; its batches hold twice as many pictures, so that there are as many verdicts. All share the networks, the
optimiser and the budget, in seconds of the clock from planning to the last weights.

Modes are read by the judge of MNIST, channel by channel: ``modes`` with at least one sample, clear or not, as in published
figures; ``clear_modes`` with at least one of which the judge is 90 % sure. ``kl`` is that of their shares from the true ones
without bias, ``kl_plain`` with it, and ``kl_plain_uniform`` the same from equal shares, as papers report it. ``floor`` is
what as many real test pictures get.

Runs stay in ``runs/stacked``: started again, the script goes on with one that was stopped and measures one that is whole. Rows
are kept in ``results/stacked.json`` one by one, and samples in ``docs/implicit``.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from budgeted import ROOT, Asked, asked
from machine import machine
from torch import Tensor

import pmodel
from pmodel.data import in_memory
from pmodel.evaluation import judges_folder
from pmodel.metrics.classes import clear_share
from pmodel.metrics.features import Extractor
from pmodel.metrics.judge import judge_for
from pmodel.metrics.modes import class_modes
from pmodel.pictures import grid, png
from pmodel.randomness import generator

N, SHOWN, PART = 26_000, 96, 2_000
"""Samples that are judged, those that are shown, and those that are drawn at a time."""
OUT, DOCS = ROOT / "benchmarks" / "results" / "stacked.json", ROOT / "docs" / "implicit"
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "unstabilised": ({"loss": "nonsaturating", "penalty": 0.0}, {}),
    "minimax": ({"loss": "minimax", "penalty": 0.0}, {}),
    "packed": ({"loss": "nonsaturating", "penalty": 0.0, "packing": 2}, {"batch": 32}),
}
"""The options of each row, and settings of its recipe."""


def sampled(model: Any, seed: int) -> Tensor:
    """Samples in the memory of the data, not of whole numbers: uint8 ``(N, 3, 28, 28)``."""
    noise = generator(seed, "stacked")
    parts = [model.sample(PART, generator=noise).to(torch.uint8) for _ in range(N // PART)]
    return torch.cat(parts)


def judged(judge: Extractor, x: Tensor, shares: Tensor) -> dict[str, Any]:
    """Modes, their divergences, and how many pictures are clear."""
    p = judge.probabilities(x)
    clear, modes = clear_share(p), class_modes(p, shares)
    uniform = class_modes(p, torch.full_like(shares, 1 / len(shares)))
    numbers = {"kl": modes.value, "kl_stderr": modes.stderr, "kl_plain": modes.plain, "kl_plain_uniform": uniform.plain}
    return {
        "modes": modes.found,
        "clear_modes": sum(1 for count in clear.counts if count),
        "of": modes.modes,
        "clear": round(clear.value, 4),
        **{name: None if value is None else round(value, 4) for name, value in numbers.items()},
    }


def measured(row: str, data: pmodel.Dataset, judge: Extractor, todo: Asked) -> tuple[dict[str, Any], bytes]:
    """What is found of one training, and a grid of its first samples."""
    assert data.shares is not None
    options, settings = ROWS[row]
    model, found = todo.trained("dcgan", data, f"stacked/{row}", settings, **options)
    began = time.perf_counter()
    x = sampled(model, todo.seed)
    drawn = time.perf_counter()
    modes = judged(judge, x, data.shares)
    cost = {"sampling_seconds": round(drawn - began, 1), "judging_seconds": round(time.perf_counter() - drawn, 1)}
    said = {"options": options, "settings": settings, "protocol": f"{todo.protocol}, {N} samples", "machine": machine()}
    return {**found, **modes, **cost, **said}, png(grid(x[:SHOWN].long(), data.domain, columns=16))


def main() -> None:
    """Measure the rows that were asked for, or all, and keep each."""
    todo = asked(__doc__, ROWS, budget=1800)
    data = pmodel.load_data("stacked-mnist")
    judge = judge_for(data, judges_folder())
    assert data.shares is not None
    kept: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {"rows": {}}
    same = {"data": data.hash, "judge": judge.name, "n": N}
    if any(kept.get(name) != value for name, value in same.items()):  # of another measure: not beside these
        kept = {**same, "floor": judged(judge, in_memory(data.test.x)[:N], data.shares), "rows": {}}
    for row in todo.rows:
        kept["rows"][row], picture = measured(row, data, judge, todo)
        print(row, json.dumps(kept["rows"][row], indent=2), flush=True)
        todo.keep(OUT, kept)
        todo.keep(DOCS / f"stacked-{row}.png", picture)


if __name__ == "__main__":
    main()
