"""Training a diffusion model of MNIST against diffusers' ``UNet2DModel``: the time to a validation loss.

    pip install diffusers
    PMODEL_DATA=... python benchmarks/diffusion.py [minutes]

Both sides learn the velocity from the same images by mean squared error, at uniform times of the same cosine schedule of 1000
steps, from pictures on [-1, 1], with a constant rate after a warm-up, and the same moving average of the weights, in which
they are measured: on the same images, times and noises of the validation split, in float32.

pmodel trains as its users train it: its DDPM with the default network, recipe (Muon among it) and arithmetic (measured by
its plan), by the events of its loop; only the rate is held constant, since a race has no known end. diffusers trains by the
loop of its own tutorial, with AdamW and its scheduler's noise and velocity. The blocks of both alternate in one process, and
what is timed is training alone.

What was chosen for diffusers, by measurement on one core with AVX-512 and AMX:

- *Size*: three levels without attention, one block each. Loss after 20 s of training with channels 32-64-64: 0.177, 24-64-64:
  0.188, 16-64-64: 0.190. pmodel's network has 15 % fewer parameters than the first.
- *Arithmetic* (images a second, forward and backward): bfloat16 with the channels last 272, contiguous 203; float32 113, 106.
- *Groups of normalisation*: 2 (or 1). The default of 32 is four times slower in the fastest arithmetic: 65 images a second.
- *Between levels*: strided convolutions; residual halving is no faster (267).
- *Training*: a rate of 2e-3 with gradients clipped to 1, as in its tutorial (16-64-64 after 20 s: 0.190; 1e-3 without
  clipping: 0.213). Batches of 32, which were best for pmodel's network; larger ones learn less in the same time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor, nn

import pmodel
from pmodel.train import Stepped, Training, plan
from pmodel.train.ema import MovingAverage

BLOCK, MINUTES = 10.0, 4.0
TARGETS = (0.16, 0.15, 0.14, 0.135, 0.13, 0.125, 0.12, 0.115, 0.11)
"""Validation losses to reach; 0.97 is what answering zero costs."""
HELD_OUT, TIMESTEPS, DECAY = 2000, 1000, 0.999
RESULT = Path(__file__).parent / "results" / "diffusion.json"


class Exam:
    """The same images, times and noises for both."""

    def __init__(self, images: Tensor) -> None:
        from diffusers import DDPMScheduler

        seeded = torch.Generator().manual_seed(1)
        self.schedule = DDPMScheduler(
            TIMESTEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False
        )
        self.clean = images[:HELD_OUT].float() / 127.5 - 1
        self.noise = torch.randn(self.clean.shape, generator=seeded)
        self.t = torch.randperm(HELD_OUT, generator=seeded) * TIMESTEPS // HELD_OUT

    @torch.no_grad()
    def loss(self, answer: Any) -> float:
        """The mean squared error of velocities; ``answer`` takes noised images and times 0 … 999."""
        noised = self.schedule.add_noise(self.clean, self.noise, self.t)
        velocity = self.schedule.get_velocity(self.clean, self.noise, self.t)
        parts = zip(noised.split(250), self.t.split(250), velocity.split(250), strict=True)
        return float(torch.stack([(answer(x, t) - v).square().mean() for x, t, v in parts]).mean())


class Diffusers:
    """The rival: the loop of its tutorial."""

    BATCH, RATE, CLIP, WARMUP = 32, 2e-3, 1.0, 100

    def __init__(self, images: Tensor, exam: Exam) -> None:
        from diffusers import UNet2DModel

        self.images, self.exam = images, exam
        self.model: Any = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            block_out_channels=(32, 64, 64),
            layers_per_block=1,
            norm_num_groups=2,
            down_block_types=("DownBlock2D",) * 3,
            up_block_types=("UpBlock2D",) * 3,
            add_attention=False,
        ).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=self.RATE, weight_decay=0.0, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda k: min(1.0, (k + 1) / self.WARMUP))
        self.average = MovingAverage(self.model, DECAY)
        self.seen = 0

    def block(self, seconds: float) -> None:
        """Train for so long."""
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            self.step()

    def step(self) -> None:
        """One step of the tutorial's loop."""
        clean = self.images[torch.randint(len(self.images), (self.BATCH,))].float() / 127.5 - 1
        noise, t = torch.randn_like(clean), torch.randint(TIMESTEPS, (self.BATCH,))
        noised = self.exam.schedule.add_noise(clean, noise, t)
        velocity = self.exam.schedule.get_velocity(clean, noise, t)
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(self.model(noised, t, return_dict=False)[0].float(), velocity)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.CLIP)
        self.optimiser.step()
        self.schedule.step()
        self.average.update(self.seen // self.BATCH)
        self.seen += self.BATCH

    def validated(self) -> float:
        """The loss of the averaged weights."""
        with self.average.applied():
            return self.exam.loss(lambda x, t: self.model(x, t, return_dict=False)[0])


class Ours:
    """pmodel: its model, its plan, its loop."""

    STEPS = 40_000

    def __init__(self, data: pmodel.Dataset, exam: Exam) -> None:
        self.exam = exam
        self.model: Any = pmodel.make("ddpm", data.domain)
        settings = {"schedule": "constant", "ema": DECAY, "warmup": 100 / self.STEPS}
        self.plan = plan(self.model, data, steps=self.STEPS, settings=settings)
        self.training = Training(self.model, data, self.plan)
        self.events: Iterator[Any] = iter(self.training)
        self.seen = 0

    def block(self, seconds: float) -> None:
        """Train for so long, and on to the next report."""
        began = time.perf_counter()
        for event in self.events:
            if isinstance(event, Stepped):
                self.seen = event.images
                if time.perf_counter() - began > seconds:
                    return

    def validated(self) -> float:
        """The loss of the averaged weights."""
        assert self.training.stepper is not None
        assert self.training.stepper.average is not None
        with self.training.stepper.average.applied():
            return self.exam.loss(lambda x, t: self.model.net(x, (t + 1) / TIMESTEPS))


def main(minutes: float) -> None:
    torch.manual_seed(0)
    data = pmodel.load_data("mnist")
    exam = Exam(data.valid.x)
    sides: dict[str, Any] = {"diffusers": Diffusers(data.train.x, exam), "pmodel": Ours(data, exam)}
    seconds = dict.fromkeys(sides, 0.0)
    curves: dict[str, list[tuple[float, int, float]]] = {name: [] for name in sides}
    for _ in range(round(60 * minutes / BLOCK)):
        for name, side in sides.items():
            began = time.perf_counter()
            side.block(BLOCK)
            seconds[name] += time.perf_counter() - began
            curves[name].append((round(seconds[name], 1), side.seen, round(side.validated(), 5)))
            print(name, *curves[name][-1], flush=True)
    result = report(sides, curves)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "curves"}, indent=2))


def report(sides: dict[str, Any], curves: dict[str, list[tuple[float, int, float]]]) -> dict[str, Any]:
    """Times to the losses that both have reached."""
    reached = {
        str(loss): {name: round(at, 1) for name, curve in curves.items() if (at := crossing(curve, loss)) is not None}
        for loss in TARGETS
    }
    both = {loss: times for loss, times in reached.items() if len(times) == len(curves)}
    ours = sides["pmodel"]
    return {
        "seconds_to_loss": reached,
        "ratio": {loss: round(times["diffusers"] / times["pmodel"], 2) for loss, times in both.items()},
        "images_per_second": {name: round(curve[-1][1] / curve[-1][0]) for name, curve in curves.items()},
        "parameters": {name: sum(p.numel() for p in side.model.parameters()) for name, side in sides.items()},
        "arithmetic": f"pmodel: {ours.plan.precision}, {ours.plan.layout}; diffusers: bfloat16, channels_last",
        "batch": {"diffusers": Diffusers.BATCH, "pmodel": ours.plan.recipe.batch},
        "rate": {"diffusers": Diffusers.RATE, "pmodel": ours.plan.recipe.rate},
        "curves": {"columns": ["seconds", "images", "loss"], **curves},
        "protocol": f"alternating blocks of {BLOCK:.0f} s of training; seed 0; {HELD_OUT} validation images, averaged weights",
        "machine": machine(),
    }


def crossing(curve: list[tuple[float, int, float]], loss: float) -> float | None:
    """The seconds at which a curve falls below a loss, between its points linearly; None if not between two of them."""
    for before, point in pairwise(curve):
        if point[2] <= loss < before[2]:
            return before[0] + (point[0] - before[0]) * (before[2] - loss) / (before[2] - point[2])
    return None


if __name__ == "__main__":
    try:
        import diffusers  # noqa: F401
    except ModuleNotFoundError:
        sys.exit("This benchmark needs its rival: pip install diffusers")
    main(float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES)
