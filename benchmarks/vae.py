"""VAE training against pythae and Keras: the study notes' architecture on binarised MNIST, in turns.

    pip install pythae tensorflow
    PMODEL_DATA=... python benchmarks/vae.py [ROUNDS IMAGES]

Architecture on all sides: 3×3 convolutions 32-64-64-64 with strides 1, 2, 2, 1, a linear layer to 32 means and 32
log-variances, and the mirror image; Bernoulli likelihood, Adam at 1e-3, batches of 128, no schedule, no averaging of weights.
Each side trains the way its users do: pythae with its own trainer's step over its own loader; Keras with the notes' own
program, a ``tf.function`` over shuffled arrays; pmodel with its own step and the arithmetic that its plan measures. The notes'
program has noise of standard deviation 0.1, whose bound holds for no model: here it has 1, at the same cost. Each has a process
of its own, which waits while another trains: pmodel has the C library keep freed memory (``train/memory.py``), which in one
process would speed pythae up by a third.

Each round trains on the same number of images; ratios are medians over rounds of the ratio of the times. Then the faster sides
go on until all have trained for as long as the slowest, but for the first round, in which Keras compiles: the evidence lower
bound on the same 2 000 held-out images says what equal time buys.
A first look with other ROUNDS and IMAGES is printed and not kept.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from race import Process, Side, in_turns, rate, ratios
from torch import Tensor, nn

import pmodel
from pmodel.learning import Recipe
from pmodel.train.batches import Batches
from pmodel.train.precision import fastest
from pmodel.train.stepper import Stepper

ROUNDS, IMAGES, BATCH, LATENT = 7, 12_800, 128, 32
HELD_OUT, DRAWS = 2_000, 16
CONVOLUTIONS = ((32, 1), (64, 2), (64, 2), (64, 1))
"""Channels and strides of the encoder."""
TRANSPOSED = ((64, 1), (64, 2), (32, 2))
"""Those of the decoder, but for the last to one channel."""
RESULT = Path(__file__).parent / "results" / "vae.json"


class Pythae:
    """Its VAE, its trainer, its loader; each round takes the next part of the images."""

    def __init__(self, parts: list[Tensor], held_out: Tensor) -> None:
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
        data = [BaseDataset(part.float(), torch.zeros(len(part))) for part in parts]
        self.trainer = BaseTrainer(self.model, data[0], training_config=settings)
        self.trainer.prepare_training()
        self.loaders = [self.trainer.get_train_dataloader(part) for part in data]
        self.rounds, self.held_out = 0, held_out.float()

    def round(self) -> None:
        """One pass of its trainer over the next images."""
        self.trainer.train_loader = self.loaders[self.rounds % len(self.loaders)]
        self.rounds += 1
        self.trainer.train_step(1)

    @torch.no_grad()
    def bound(self) -> float:
        """Of its encoder and decoder, on held-out images."""
        self.model.eval()
        encoded = self.model.encoder(self.held_out)
        return bound_of(
            self.held_out, encoded.embedding, encoded.log_covariance, lambda z: self.model.decoder(z).reconstruction
        )


def bound_of(x: Tensor, mu: Tensor, log_var: Tensor, decode: Callable[[Tensor], Tensor]) -> float:
    """The evidence lower bound with 16 draws, from means and log-variances of codes and a decoder to probabilities."""
    kl, total = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(1), 0.0
    for draw in range(DRAWS):
        z = mu + (0.5 * log_var).exp() * torch.randn(mu.shape, generator=torch.Generator().manual_seed(draw))
        p = decode(z).clamp(1e-7, 1 - 1e-7)
        total += float((torch.where(x == 1, p, 1 - p).log().flatten(1).sum(1) - kl).mean()) / DRAWS
    return total


def convolutions() -> nn.Sequential:
    """The encoder of the notes, flattened."""
    layers: list[nn.Module] = []
    inward = 1
    for outward, stride in CONVOLUTIONS:
        layers += [nn.Conv2d(inward, outward, 3, stride, 1), nn.ReLU()]
        inward = outward
    return nn.Sequential(*layers, nn.Flatten())


def transposed() -> nn.Sequential:
    """The decoder of the notes."""
    layers: list[nn.Module] = [nn.Linear(LATENT, 3136), nn.Unflatten(1, (64, 7, 7))]
    inward = 64
    for outward, stride in TRANSPOSED:
        layers += [nn.ConvTranspose2d(inward, outward, 3, stride, 1, output_padding=stride - 1), nn.ReLU()]
        inward = outward
    return nn.Sequential(*layers, nn.ConvTranspose2d(32, 1, 3, 1, 1))


class Keras:
    """The program of the notes: two sequential models, a compiled step, arrays that are shuffled and sliced."""

    def __init__(self, parts: list[Tensor], held_out: Tensor) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras
        import tensorflow as tf

        keras.utils.set_random_seed(0)
        layers, same = keras.layers, {"padding": "same", "activation": "relu"}
        self.parts = [part.permute(0, 2, 3, 1).float().numpy() for part in parts]
        self.rounds, self.order, self.held_out = 0, np.random.default_rng(0), held_out
        encoder = [layers.Conv2D(c, (3, 3), strides=(s, s), **same) for c, s in CONVOLUTIONS]
        self.encoder = keras.Sequential([keras.Input((28, 28, 1)), *encoder, layers.Flatten()])
        self.fc_mu, self.fc_log_var = layers.Dense(LATENT), layers.Dense(LATENT)
        decoder = [layers.Conv2DTranspose(c, (3, 3), strides=(s, s), **same) for c, s in TRANSPOSED]
        last = layers.Conv2DTranspose(1, (3, 3), activation="sigmoid", padding="same", strides=(1, 1))
        begin = [keras.Input((LATENT,)), layers.Dense(3136), layers.Reshape((7, 7, 64))]
        self.decoder = keras.Sequential([*begin, *decoder, last])
        optimiser = keras.optimizers.Adam()

        @tf.function  # type: ignore[untyped-decorator]
        def train_step(x: Any) -> Any:
            with tf.GradientTape() as tape:
                mu, log_var = self.encode(x)
                z = mu + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mu))
                entropy = keras.losses.binary_crossentropy(x, self.decoder(z))
                reconstruction = tf.reduce_mean(tf.reduce_sum(entropy, axis=(1, 2)))
                kl = -0.5 * tf.reduce_mean(tf.reduce_sum(1 + log_var - tf.square(mu) - tf.exp(log_var), axis=1))
                loss = reconstruction + kl
            parts = (self.encoder, self.fc_mu, self.fc_log_var, self.decoder)
            variables = [variable for part in parts for variable in part.trainable_variables]
            optimiser.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        self.fc_mu.build((None, 3136))
        self.fc_log_var.build((None, 3136))
        self.train_step = train_step

    def encode(self, x: Any) -> tuple[Any, Any]:
        """Means and log-variances."""
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_log_var(h)

    def round(self) -> None:
        """One pass over the next images, shuffled."""
        images = self.parts[self.rounds % len(self.parts)]
        self.rounds += 1
        shuffled = images[self.order.permutation(len(images))]
        for start in range(0, len(shuffled), BATCH):
            loss = self.train_step(shuffled[start : start + BATCH])
        loss.numpy()  # the last step is over

    def bound(self) -> float:
        """Of its encoder and decoder, on held-out images."""
        x = self.held_out
        mu, log_var = (torch.tensor(part.numpy()) for part in self.encode(x.permute(0, 2, 3, 1).float().numpy()))
        return bound_of(x, mu, log_var, lambda z: torch.tensor(self.decoder(z.numpy()).numpy()).permute(0, 3, 1, 2))


class Ours:
    """pmodel: its VAE, its step, the arithmetic that it measures."""

    def __init__(self, data: pmodel.Dataset, held_out: Tensor, images: int) -> None:
        self.model = pmodel.make(
            "vae", data.domain, architecture="conv", latent=LATENT, channels=32, layers=0, warmup=0.0
        )
        recipe = Recipe(batch=BATCH, rate=1e-3, schedule="constant", warmup=0.0, ema=0.0)
        batches = Batches(data.train, data.domain, recipe, 0, torch.device("cpu"), conditional=False)
        arithmetic = fastest(lambda tried: Stepper(copy.deepcopy(self.model), batches, recipe, 0, tried))
        self.stepper = Stepper(self.model, batches, recipe, 0, arithmetic)
        self.steps, self.each, self.held_out = 0, images // BATCH, held_out

    def round(self) -> None:
        """As many steps as a round has batches."""
        for _ in range(self.each):
            self.stepper.step(self.steps, 0.5)
            self.steps += 1

    def bound(self) -> float:
        """The evidence lower bound of our model, on held-out images."""
        return float(self.model.elbo(self.held_out).mean)  # type: ignore[operator]

    def arithmetic(self) -> str:
        """Which it trains in."""
        return f"{self.stepper.arithmetic.precision}, {self.stepper.arithmetic.layout}"


def side(name: str, images: int) -> Side:
    """One side, with the images of its rounds."""
    data = pmodel.load_data("mnist-binary")
    held_out = data.domain.check(data.test.x[:HELD_OUT])
    if name == "pmodel":
        return Ours(data, held_out, images)
    parts = [*data.domain.check(data.train.x[: len(data.train) // images * images]).split(images)]
    return Keras(parts, held_out) if name == "keras" else Pythae(parts, held_out)


def main(rounds: int, images: int) -> dict[str, Any]:
    """Train all sides in turns, then the faster ones for as long as the slowest."""
    sides = {name: Process(side, name, images) for name in ("pythae", "keras", "pmodel")}
    timed = in_turns(sides, rounds)
    seconds, slowest = {name: [*times] for name, times in timed.items()}, max(map(sum, timed.values()))
    for name, one in sides.items():
        while sum(seconds[name]) < slowest:
            seconds[name].append(one.asked("round"))
    return {
        "images_per_second": {name: rate(images, times) for name, times in timed.items()},
        "ratio": round(statistics.median(ratios(timed["pythae"], timed["pmodel"])), 2),
        "ratio_keras": round(statistics.median(ratios(timed["keras"], timed["pmodel"])), 2),
        "bound_on_held_out": {name: round(one.asked("bound"), 2) for name, one in sides.items()},
        "seconds_of_training": {name: round(sum(times), 1) for name, times in seconds.items()},
        "images_seen": {name: images * (1 + len(times)) for name, times in seconds.items()},
        "arithmetic": sides["pmodel"].asked("arithmetic"),
        "protocol": f"{rounds} rounds of {images} images in turns, medians; bounds after equal time; seed 0",
        "machine": machine(),
    }


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:]]
    result = main(*(asked or (ROUNDS, IMAGES)))
    print(json.dumps(result, indent=2))
    if not asked:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
