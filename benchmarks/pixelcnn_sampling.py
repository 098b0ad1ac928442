"""Sampling from a PixelCNN: the cache against the whole network evaluated anew for every pixel, interleaved in one process.

    python benchmarks/pixelcnn_sampling.py

Both sides draw the same 64 binary pictures of 28×28 with the default network and fresh weights, from the same uniform numbers,
in float32, with all threads. The naive side is the loop that the model's definition suggests: a parallel pass, of which the
features of one pixel are used. The ratio is the median over rounds; how many pictures agree shows that the results are equal.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
from machine import machine
from torch import Tensor

from pmodel.domain import Discrete
from pmodel.explicit.tractable.autoregressive.outputs import scaled
from pmodel.explicit.tractable.autoregressive.pixelcnn import PixelCNN
from pmodel.randomness import forked, generator

ROUNDS, IMAGES, SHAPE, LEVELS = 3, 64, (1, 28, 28), 2
RESULT = Path(__file__).parent / "results" / "pixelcnn_sampling.json"


@torch.no_grad()
def naive(model: PixelCNN, n: int, seed: int) -> Tensor:
    """A parallel pass for every pixel; uniform numbers in the order in which ``PixelCNN.sample`` draws them."""
    channels, height, width = SHAPE
    x = torch.zeros(n, *SHAPE, dtype=torch.int64)
    u = torch.rand(height, width, n, channels, model.output.uniforms, generator=generator(seed))
    for i in range(height):
        for j in range(width):
            features = model.network(scaled(x, LEVELS, torch.float32), None)[:, i, j]
            x[:, :, i, j], _ = model.output.draw(features, u[i, j], x[:, :, i, j], None)
    return x


def cached(model: PixelCNN, n: int, seed: int) -> Tensor:
    """The model's own way."""
    return model.sample(n, generator=generator(seed))


def main() -> None:
    with forked(0, "init"):
        model = PixelCNN(Discrete(SHAPE, LEVELS)).eval()
    cached(model, IMAGES, 0)
    seconds: dict[str, list[float]] = {"cached": [], "naive": []}
    agree = 0
    for seed in range(1, 1 + ROUNDS):
        drawn = []
        for name, side in (("cached", cached), ("naive", naive)):
            began = time.perf_counter()
            drawn.append(side(model, IMAGES, seed))
            seconds[name].append(time.perf_counter() - began)
        agree += int((drawn[0] == drawn[1]).flatten(1).all(1).sum())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = [slow / fast for slow, fast in zip(seconds["naive"], seconds["cached"], strict=True)]
    result = {
        "seconds": {name: round(median, 3) for name, median in medians.items()},
        "images_per_second": {name: round(IMAGES / median, 2) for name, median in medians.items()},
        "ratio": round(statistics.median(ratios), 1),
        "equal_pictures": f"{agree} of {ROUNDS * IMAGES}",
        "parameters": model.size,
        "protocol": f"{ROUNDS} interleaved rounds of {IMAGES} pictures, medians",
        "machine": machine(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
