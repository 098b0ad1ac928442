"""Sampling from a transformer: the key-value cache against the whole stack evaluated anew for every token, interleaved.

    python benchmarks/transformer_sampling.py

Both sides draw the same data with the default network and fresh weights, from the same uniform numbers, in float32, with all
threads: 64 binary pictures of 28×28 (49 patches), and 8 sequences of 256 symbols out of 96. The naive side is the loop that
the definition suggests: a parallel pass over the tokens so far, of which the features of the last one are used. The ratio is
the median over rounds; how many data agree shows that the results are equal.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

from pmodel.domain import Discrete, Domain, Sequences
from pmodel.explicit.tractable.autoregressive.tokens.token_writing import Draws
from pmodel.explicit.tractable.autoregressive.tokens.transformer import Transformer
from pmodel.randomness import forked, generator

ROUNDS = 3
CASES: dict[str, tuple[Domain, int]] = {
    "pictures": (Discrete((1, 28, 28), 2), 64),
    "text": (Sequences(Discrete((), 96), 256), 8),
}
RESULT = Path(__file__).parent / "results" / "transformer_sampling.json"


@torch.no_grad()
def naive(model: Transformer, n: int, seed: int) -> Tensor:
    """A pass for every token; uniform numbers in the order in which ``Transformer.sample`` draws them."""
    patches, source = model.patches, generator(seed)
    if isinstance(model.domain, Sequences):
        model._sampled_lengths(None, n, None, source)  # the lengths come first, and are all the longest here
    u = torch.rand(patches.tokens, n, patches.entries, generator=source)
    x = torch.zeros(n, patches.tokens, patches.entries, dtype=torch.int64)
    real = patches.real(x.device).tolist()
    for t in range(patches.tokens):
        features = model.stack(model.embedding(x, None)[:, : t + 1])[:, t]
        x[:, t], _ = model.head.draw(features, u[t], x[:, t], None, real[t], Draws())
    return patches.join(x)


def cached(model: Transformer, n: int, seed: int) -> Tensor:
    """The model's own way."""
    return model.sample(n, generator=generator(seed))


def measured(domain: Domain, n: int) -> dict[str, Any]:
    """The seconds of all sides, and how many data agree."""
    with forked(0, "init"):
        model = Transformer(domain).eval()
    if isinstance(domain, Sequences):
        model.record_lengths(torch.tensor([domain.longest]))
    sides = {"cached": cached, "naive": naive}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    cached(model, n, 0)
    agree = 0
    for seed in range(1, 1 + ROUNDS):
        drawn = []
        for name, side in sides.items():
            began = time.perf_counter()
            drawn.append(side(model, n, seed))
            seconds[name].append(time.perf_counter() - began)
        agree += int((drawn[0] == drawn[1]).flatten(1).all(1).sum())
    ratios = [slow / fast for slow, fast in zip(seconds["naive"], seconds["cached"], strict=True)]
    return {
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "ratio": round(statistics.median(ratios), 1),
        "equal": f"{agree} of {ROUNDS * n}",
        "tokens": model.patches.tokens,
        "parameters": model.size,
    }


def main() -> None:
    result: dict[str, Any] = {name: measured(domain, n) for name, (domain, n) in CASES.items()}
    result["protocol"] = f"{ROUNDS} interleaved rounds of 64 pictures and 8 sequences of 256 symbols, medians"
    result["machine"] = machine()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
