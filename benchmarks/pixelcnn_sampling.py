"""Sampling pixel by pixel: the cache against the whole network evaluated anew for every pixel, interleaved in one process.

    python benchmarks/pixelcnn_sampling.py [pixelcnn] [pixelcnn-plain] [pixelrnn-row] [pixelrnn-diagonal] [--images 64]

Both sides draw the same binary pictures of 28×28 with the default network and fresh weights, from the same uniform numbers,
in float32, with all threads. The naive side is the loop that the model's definition suggests: a parallel pass, of which the
features of one pixel are used. The ratio is the median over rounds; how many pictures agree shows that the results are equal.
Each network named, or all four, leaves a result of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor

from pmodel.domain import Discrete
from pmodel.explicit.tractable.autoregressive.categories import scaled
from pmodel.explicit.tractable.autoregressive.pixels.pixelcnn import PixelCNN
from pmodel.explicit.tractable.autoregressive.pixels.pixelrnn import PixelRNN
from pmodel.explicit.tractable.autoregressive.pixels.raster import RasterModel
from pmodel.randomness import forked, generator

SHAPE, LEVELS = (1, 28, 28), 2
RESULTS = Path(__file__).parent / "results"
NETWORKS: dict[str, tuple[type[PixelCNN | PixelRNN], dict[str, Any]]] = {
    "pixelcnn": (PixelCNN, {}),
    "pixelcnn-plain": (PixelCNN, {"form": "plain"}),
    "pixelrnn-row": (PixelRNN, {"cell": "row"}),
    "pixelrnn-diagonal": (PixelRNN, {"cell": "diagonal"}),
}


@torch.no_grad()
def naive(model: RasterModel, n: int, seed: int) -> Tensor:
    """A parallel pass for every pixel; uniform numbers in the order in which ``sample`` draws them."""
    channels, height, width = SHAPE
    x = torch.zeros(n, *SHAPE, dtype=torch.int64)
    u = torch.rand(height, width, n, channels, model.output.uniforms, generator=generator(seed))
    for i in range(height):
        for j in range(width):
            features = model.network(scaled(x, LEVELS, torch.float32), None)[:, i, j]
            x[:, :, i, j], _ = model.output.draw(features, u[i, j], x[:, :, i, j], None)
    return x


def cached(model: RasterModel, n: int, seed: int) -> Tensor:
    """The model's own way."""
    return model.sample(n, generator=generator(seed))


def raced(name: str, images: int, rounds: int) -> dict[str, Any]:
    """Both sides of one network."""
    kind, options = NETWORKS[name]
    with forked(0, "init"):
        model = kind(Discrete(SHAPE, LEVELS), **options).eval()
    cached(model, images, 0)
    seconds: dict[str, list[float]] = {"cached": [], "naive": []}
    agree = 0
    for seed in range(1, 1 + rounds):
        drawn = []
        for name, side in (("cached", cached), ("naive", naive)):
            began = time.perf_counter()
            drawn.append(side(model, images, seed))
            seconds[name].append(time.perf_counter() - began)
        agree += int((drawn[0] == drawn[1]).flatten(1).all(1).sum())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = [slow / fast for slow, fast in zip(seconds["naive"], seconds["cached"], strict=True)]
    return {
        "seconds": {name: round(median, 3) for name, median in medians.items()},
        "images_per_second": {name: round(images / median, 2) for name, median in medians.items()},
        "ratio": round(statistics.median(ratios), 1),
        "equal_pictures": f"{agree} of {rounds * images}",
        "parameters": model.size,
        "protocol": f"{rounds} interleaved rounds of {images} pictures, medians",
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in asked.networks:
        result = raced(name, asked.images, asked.rounds)
        (RESULTS / f"{name}_sampling.json").write_text(json.dumps(result, indent=2) + "\n")
        print(name, json.dumps(result, indent=2), flush=True)


if __name__ == "__main__":
    main()
