"""VAE training against pythae: the study notes' architecture on binarised MNIST, both interleaved in one process.

    pip install pythae
    PMODEL_DATA=... python benchmarks/vae.py

Architecture on both sides: 3×3 convolutions 32-64-64-64 with strides 1, 2, 2, 1, a linear layer to 32 means and 32
log-variances, and the mirror image; Bernoulli likelihood, Adam at 1e-3, batches of 128, no schedule, no averaging of weights.
Each side trains the way its users do: pythae with its own trainer's step over its own loader, pmodel with its own step and
the arithmetic that its plan measures. Each round trains on the same number of images; the ratio is the median over rounds.
At the end the evidence lower bound on the same 2 000 held-out images shows that the results are equally good.
"""

from __future__ import annotations

import copy
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor, nn

import pmodel
from pmodel.learning import Recipe
from pmodel.train.batches import Batches
from pmodel.train.precision import fastest
from pmodel.train.stepper import Stepper

ROUNDS, IMAGES, BATCH, LATENT = 7, 12_800, 128, 32
HELD_OUT = 2_000
RESULT = Path(__file__).parent / "results" / "vae.json"


class Pythae:
    """The rival: its VAE, its trainer, its loader."""

    def __init__(self, images: Tensor) -> None:
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        class Encoder(BaseEncoder):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.layers, self.mean, self.log_var = convolutions(), nn.Linear(3136, LATENT), nn.Linear(3136, LATENT)

            def forward(self, x: Tensor) -> Any:
                h = self.layers(x)
                return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

        class Decoder(BaseDecoder):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.layers = transposed()

            def forward(self, z: Tensor) -> Any:
                return ModelOutput(reconstruction=self.layers(z).sigmoid())

        config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
        self.model = VAE(config, encoder=Encoder(), decoder=Decoder())
        settings = BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=BATCH,
            learning_rate=1e-3,
            no_cuda=True,
            num_epochs=1,
        )
        data = BaseDataset(images.float(), torch.zeros(len(images)))
        self.trainer = BaseTrainer(self.model, data, training_config=settings)
        self.trainer.prepare_training()

    def round(self) -> None:
        """One pass over the images."""
        self.trainer.train_step(1)

    @torch.no_grad()
    def bound(self, x: Tensor) -> float:
        """The evidence lower bound of its model, in nats, with 16 draws."""
        self.model.eval()
        encoded, total = self.model.encoder(x.float()), 0.0
        mu, log_var = encoded.embedding, encoded.log_covariance
        kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(1)
        for _ in range(16):
            z = mu + (0.5 * log_var).exp() * torch.randn(mu.shape, generator=torch.Generator().manual_seed(_))
            p = self.model.decoder(z).reconstruction.clamp(1e-7, 1 - 1e-7)
            total += float((torch.where(x == 1, p, 1 - p).log().flatten(1).sum(1) - kl).mean()) / 16
        return total


def convolutions() -> nn.Sequential:
    """The encoder of the notes, flattened."""
    layers: list[nn.Module] = []
    for inward, outward, stride in ((1, 32, 1), (32, 64, 2), (64, 64, 2), (64, 64, 1)):
        layers += [nn.Conv2d(inward, outward, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


def transposed() -> nn.Sequential:
    """The decoder of the notes."""
    layers: list[nn.Module] = [nn.Linear(LATENT, 3136), nn.Unflatten(1, (64, 7, 7))]
    for inward, outward, stride in ((64, 64, 1), (64, 64, 2), (64, 32, 2)):
        layers += [nn.ConvTranspose2d(inward, outward, 3, stride, 1, output_padding=stride - 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(32, 1, 3, 1, 1))


class Ours:
    """pmodel: its VAE, its step, the arithmetic that it measures."""

    def __init__(self, data: pmodel.Dataset) -> None:
        self.model = pmodel.make(
            "vae", data.domain, architecture="conv", latent=LATENT, channels=32, layers=0, warmup=0.0
        )
        recipe = Recipe(batch=BATCH, rate=1e-3, schedule="constant", warmup=0.0, ema=0.0)
        batches = Batches(data.train, data.domain, recipe, 0, torch.device("cpu"), conditional=False)
        arithmetic = fastest(lambda tried: Stepper(copy.deepcopy(self.model), batches, recipe, 0, tried))
        self.arithmetic = f"{arithmetic.precision}, {arithmetic.layout}"
        self.stepper = Stepper(self.model, batches, recipe, 0, arithmetic)
        self.steps = 0

    def round(self) -> None:
        """One pass over the images."""
        for _ in range(IMAGES // BATCH):
            self.stepper.step(self.steps, 0.5)
            self.steps += 1

    def bound(self, x: Tensor) -> float:
        """The evidence lower bound of our model."""
        return float(self.model.elbo(x).mean)  # type: ignore[operator]


def main() -> None:
    logging.disable(logging.INFO)
    torch.manual_seed(0)
    data = pmodel.load_data("mnist-binary")
    train, held_out = data.train.x[:IMAGES], data.domain.check(data.test.x[:HELD_OUT])
    part = pmodel.Dataset("part", data.domain, data.train.take(torch.arange(IMAGES)), data.valid, data.test)
    sides = {"pythae": Pythae(train), "pmodel": Ours(part)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            side.round()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    speed = {name: round(IMAGES / statistics.median(times)) for name, times in seconds.items()}
    ratios = [theirs / ours for theirs, ours in zip(seconds["pythae"], seconds["pmodel"], strict=True)]
    result = {
        "images_per_second": speed,
        "ratio": round(statistics.median(ratios), 2),
        "bound_on_held_out": {name: round(side.bound(held_out), 2) for name, side in sides.items()},
        "images_seen_by_each": IMAGES * (ROUNDS + 1),
        "arithmetic": sides["pmodel"].arithmetic,  # type: ignore[union-attr]
        "protocol": f"{ROUNDS} interleaved rounds of {IMAGES} images, medians; seed 0",
        "machine": machine(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
