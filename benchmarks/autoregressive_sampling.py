"""Sampling from NADE, MADE and FVBN: what is kept from entry to entry, against a whole pass for every entry, interleaved.

    python benchmarks/autoregressive_sampling.py

Both sides draw the same binary pictures of 28×28 with the default network and fresh weights, from the same uniform numbers, in
float32, with all threads. The naive side is the loop that the definition suggests: for every entry, a parallel pass, of which
the numbers of one entry are used: 784 passes. The ratio is the median over rounds; how many pictures agree shows that the
results are equal.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

import pmodel
from pmodel.domain import Discrete
from pmodel.explicit.tractable.autoregressive.vectors.vector import AutoregressiveVector
from pmodel.nn.masked import MaskedLinear
from pmodel.randomness import generator

ROUNDS, IMAGES, SHAPE, LEVELS = 3, 64, (1, 28, 28), 2
NAMES = ("fvbn", "nade", "made")
RESULT = Path(__file__).parent / "results" / "autoregressive_sampling.json"


@torch.no_grad()
def naive(model: AutoregressiveVector, n: int, seed: int) -> Tensor:
    """A parallel pass for every entry; random numbers in the order in which ``sample`` draws them."""
    entries, noise = model.domain.entries, generator(seed)
    if isinstance(getattr(model, "orderings", None), int):
        torch.randint(1, (n,), generator=noise)  # the order of each datum, of which there is one here
    x = torch.zeros(n, entries, dtype=torch.int64)
    u = torch.rand(entries, n, 1, generator=noise, dtype=torch.float64).flatten(1)
    for i in range(entries):
        numbers = model._numbers(model.factor.code(x, torch.float32), None)[:, i]
        x[:, i] = model.factor.draw(numbers, u[i])
    return x.reshape(n, *SHAPE)


def baked(model: AutoregressiveVector) -> AutoregressiveVector:
    """A copy whose masked weights are multiplied by their masks once, not in every pass."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, MaskedLinear):
            weight = layer.masked().detach()
            layer.masked = lambda order=0, weight=weight: weight  # type: ignore[method-assign]
    return model


def incremental(model: AutoregressiveVector, n: int, seed: int) -> Tensor:
    """The model's own way."""
    return model.sample(n, generator=generator(seed))


def measured(name: str) -> dict[str, Any]:
    """One model: medians over rounds."""
    model: Any = pmodel.make(name, Discrete(SHAPE, LEVELS)).eval()
    plain = baked(model)
    incremental(model, IMAGES, 0)
    seconds: dict[str, list[float]] = {"incremental": [], "naive": []}
    agree = 0
    for seed in range(1, 1 + ROUNDS):
        drawn = []
        for way, side, whose in (("incremental", incremental, model), ("naive", naive, plain)):
            began = time.perf_counter()
            drawn.append(side(whose, IMAGES, seed))
            seconds[way].append(time.perf_counter() - began)
        agree += int((drawn[0] == drawn[1]).flatten(1).all(1).sum())
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    ratios = [slow / fast for slow, fast in zip(seconds["naive"], seconds["incremental"], strict=True)]
    return {
        "seconds": {way: round(median, 3) for way, median in medians.items()},
        "images_per_second": {way: round(IMAGES / median, 2) for way, median in medians.items()},
        "ratio": round(statistics.median(ratios), 1),
        "equal_pictures": f"{agree} of {ROUNDS * IMAGES}",
        "parameters": model.size,
    }


def main() -> None:
    result = {
        **{name: measured(name) for name in NAMES},
        "protocol": f"{ROUNDS} interleaved rounds of {IMAGES} pictures, medians",
        "machine": machine(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
