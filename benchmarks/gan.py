"""GAN training against Keras: the study notes' networks on the bags of Fashion-MNIST, in turns.

    pip install tensorflow
    PMODEL_DATA=... python benchmarks/gan.py [ROUNDS IMAGES]

Networks on all sides: 3×3 convolutions 64-128-128-256 with strides 1, 2, 2, 2, dropout and a logit; from 100 normal numbers a
linear layer to 256 channels of 7×7, 4×4 transposed convolutions 128-64 with stride 2, and a 3×3 convolution. Leaky rectifiers
between, Glorot's start. The game is the notes': binary cross-entropy, in the generator's phase with the labels exchanged, and
no penalty; Adam at 2e-4 with β₁ = 1/2, no schedule, no averaging of weights. A step shows the discriminator 128 images and 128
samples, and then 128 new samples teach the generator, before a discriminator without dropout.

The notes' own loop trains no discriminator (``D.trainable = False`` before the first step, ``implicit/game/pair.py``). Here
Keras has the step that its users write today: one ``tf.function`` with a tape for each player, which draws from images that are
a constant of the graph. It takes part twice, in float32, as the notes are, and in its mixed bfloat16; each time the faster of
the plain graph and the one that XLA compiles. pmodel has its own step and the arithmetic that its plan measures.

Each round trains on the same number of images; ratios are medians over rounds of the ratio of the times, beside the least and
the greatest. That all sides learn, their samples tell after as many steps: the distance from held-out bags, the share that
Fashion-MNIST's judge is sure are bags, and what D makes of both, which is 1/2 where it has learned nothing.
A first look with other ROUNDS and IMAGES is printed and not kept.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from race import Process, Side, in_turns, rate, ratios
from torch import Tensor, nn

import pmodel
from pmodel.domain import Domain
from pmodel.evaluation import Bench
from pmodel.implicit.game.game import Game
from pmodel.implicit.game.pair import PicturePair
from pmodel.implicit.game.scale import seen, shown
from pmodel.learning import Recipe
from pmodel.nn.transposed import TransposedConvolution
from pmodel.train.batches import Batches
from pmodel.train.precision import fastest
from pmodel.train.stepper import Stepper

DATA, BAG = "fashion-mnist:8", 8
ROUNDS, IMAGES, BATCH, LATENT, RATE, BETAS = 9, 6_400, 128, 100, 2e-4, (0.5, 0.999)
JUDGED = 1_000
CONVOLUTIONS = ((64, 1), (128, 2), (128, 2), (256, 2))
"""Channels and strides of the discriminator."""
TRANSPOSED = (128, 64)
"""Channels of the generator between its first 256 and the picture."""
SLOPE, DROPOUT = 0.2, 0.4
TRIED = 3
"""Steps by which Keras's graph and its XLA program are compared."""
RESULT = Path(__file__).parent / "results" / "gan.json"


class Notes(PicturePair):
    """The notes' networks, in pmodel's game."""

    def __init__(self, domain: Domain, given: Domain | None = None) -> None:
        super().__init__(domain, given, latent=LATENT, game=Game("nonsaturating", penalty=0.0))
        self.generator, self.discriminator = Layers(growing()), Layers(shrinking())
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Notes:
        """There is one size."""
        return cls(domain, given)

    def recipe(self) -> Recipe:
        """The notes'."""
        return Recipe(batch=BATCH, rate=RATE, betas=BETAS, schedule="constant", warmup=0.0, ema=0.0)


class Layers(nn.Module):
    """A player without labels."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, given: Tensor | None) -> Tensor:
        """Its answer; there are no labels."""
        y: Tensor = self.layers(x)
        return y


def growing() -> list[nn.Module]:
    """The generator's layers."""
    layers: list[nn.Module] = [nn.Linear(LATENT, 256 * 7 * 7), nn.LeakyReLU(SLOPE), nn.Unflatten(1, (256, 7, 7))]
    inward = 256
    for outward in TRANSPOSED:
        layers += [TransposedConvolution(inward, outward, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        inward = outward
    return [*layers, nn.Conv2d(inward, 1, 3, 1, 1), nn.Tanh()]


def shrinking() -> list[nn.Module]:
    """The discriminator's, to a logit."""
    layers: list[nn.Module] = []
    inward = 1
    for outward, stride in CONVOLUTIONS:
        layers += [nn.Conv2d(inward, outward, 3, stride, 1), nn.LeakyReLU(SLOPE)]
        inward = outward
    return [*layers, nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(inward * 4 * 4, 1), nn.Flatten(0)]


class Ours:
    """pmodel: its step, the arithmetic that it measures."""

    def __init__(self, data: pmodel.Dataset, images: int) -> None:
        self.model, self.each, self.steps = Notes(data.domain), images // BATCH, 0
        self.held_out = held_out(data)
        recipe = self.model.recipe()
        batches = Batches(data.train, data.domain, recipe, 0, torch.device("cpu"), conditional=False)
        arithmetic = fastest(lambda tried: Stepper(copy.deepcopy(self.model), batches, recipe, 0, tried))
        self.stepper = Stepper(self.model, batches, recipe, 0, arithmetic)

    def arithmetic(self) -> str:
        """Which it trains in."""
        return f"{self.stepper.arithmetic.precision}, {self.stepper.arithmetic.layout}"

    def round(self) -> None:
        """As many steps as a round has batches."""
        for _ in range(self.each):
            self.stepper.step(self.steps, 0.5)
            self.steps += 1

    def samples(self) -> Any:
        """Pictures."""
        return self.model.sample(JUDGED, generator=0).numpy()

    @torch.no_grad()
    def verdicts(self) -> tuple[float, float]:
        """What D makes of held-out data and of samples, on average."""
        self.model.eval()
        x = [seen(torch.as_tensor(y), self.model.domain) for y in (self.held_out, self.samples())]
        real, fake = (float(self.model.discriminator(y, None).sigmoid().mean()) for y in x)
        self.model.train()
        return real, fake


class Keras:
    """Keras in an arithmetic of its own: two sequential models and a compiled step, plain or by XLA, as is faster."""

    def __init__(self, data: pmodel.Dataset, images: int, policy: str) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(torch.get_num_threads())
        keras.utils.set_random_seed(0)
        keras.mixed_precision.set_global_policy(policy)
        self.domain, self.policy, self.each, self.held_out = data.domain, policy, images // BATCH, held_out(data)
        self.train = tf.constant(pictures(data.train.x, data.domain))
        self._make(keras)
        tried = {by: tf.function(self._step, jit_compile=by == "XLA") for by in ("graph", "XLA")}
        self.by = min(tried, key=lambda by: timed(tried[by]))
        self.step = tried[self.by]

    def _make(self, keras: Any) -> None:
        layers, inputs = keras.layers, keras.Input

        def bent(kind: Any, *shape: Any, **options: Any) -> Any:
            return kind(*shape, activation=layers.LeakyReLU(negative_slope=SLOPE), **options)

        same = {"padding": "same"}
        down = [bent(layers.Conv2D, c, 3, strides=s, **same) for c, s in CONVOLUTIONS]
        ending = [layers.Flatten(), layers.Dropout(DROPOUT), layers.Dense(1, dtype="float32")]
        self.discriminator = keras.Sequential([inputs((28, 28, 1)), *down, *ending])
        begin = [inputs((LATENT,)), bent(layers.Dense, 256 * 7 * 7), layers.Reshape((7, 7, 256))]
        up = [bent(layers.Conv2DTranspose, c, 4, strides=2, **same) for c in TRANSPOSED]
        last = layers.Conv2D(1, 3, activation="tanh", dtype="float32", **same)
        self.generator = keras.Sequential([*begin, *up, last])
        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self.optimisers = {}
        for player in (self.discriminator, self.generator):
            optimiser = self.optimisers[player] = keras.optimizers.Adam(RATE, beta_1=BETAS[0], beta_2=BETAS[1])
            optimiser.build(player.trainable_variables)

    def _step(self) -> Any:
        """The discriminator's update on data and samples, and the generator's on new samples."""
        import tensorflow as tf

        rows = tf.random.uniform((BATCH,), maxval=len(self.train), dtype=tf.int32)
        real, fake = tf.gather(self.train, rows), self.generator(tf.random.normal((BATCH, LATENT)))
        with tf.GradientTape() as tape:
            on_real, on_fake = self.discriminator(real, training=True), self.discriminator(fake, training=True)
            loss = self.cross_entropy(tf.ones_like(on_real), on_real) + self.cross_entropy(
                tf.zeros_like(on_fake), on_fake
            )
        self._descend(tape, loss, self.discriminator)
        with tf.GradientTape() as tape:
            on_fake = self.discriminator(self.generator(tf.random.normal((BATCH, LATENT)), training=True))
            fooled = self.cross_entropy(tf.ones_like(on_fake), on_fake)
        self._descend(tape, fooled, self.generator)
        return loss

    def _descend(self, tape: Any, loss: Any, player: Any) -> None:
        moved = player.trainable_variables
        self.optimisers[player].apply_gradients(zip(tape.gradient(loss, moved), moved, strict=True))

    def arithmetic(self) -> str:
        """Which it trains in."""
        return f"{self.policy}, {self.by}"

    def round(self) -> None:
        """As many steps as a round has batches."""
        for _ in range(self.each):
            loss = self.step()
        loss.numpy()  # the last step is over

    def samples(self) -> Any:
        """Pictures."""
        z = torch.randn(JUDGED, LATENT, generator=torch.Generator().manual_seed(0)).numpy()
        y = torch.tensor(self.generator.predict(z, verbose=0)).permute(0, 3, 1, 2)
        return shown(y, self.domain).numpy()

    def verdicts(self) -> tuple[float, float]:
        """What D makes of held-out data and of samples, on average."""
        both = [pictures(x, self.domain) for x in (self.held_out, torch.as_tensor(self.samples()))]
        logits = [torch.tensor(self.discriminator.predict(x, verbose=0)) for x in both]
        real, fake = (float(values.sigmoid().mean()) for values in logits)
        return real, fake


def held_out(data: pmodel.Dataset) -> Tensor:
    """Bags that nobody learns from."""
    return data.domain.check(data.test.x[:JUDGED])


def pictures(x: Any, domain: Domain) -> Any:
    """Levels as Keras's networks see them, ``(N, 28, 28, 1)``."""
    return seen(domain.check(x), domain).permute(0, 2, 3, 1).numpy()


def timed(step: Any) -> float:
    """The seconds of some steps, after one that compiles."""
    step().numpy()
    began = time.perf_counter()
    for _ in range(TRIED):
        step().numpy()
    return time.perf_counter() - began


def side(name: str, images: int) -> Side:
    """One side, with the images of a round."""
    data = pmodel.load_data(DATA)
    return Ours(data, images) if name == "pmodel" else Keras(data, images, name.removeprefix("keras "))


def learned(sides: dict[str, Process]) -> dict[str, Any]:
    """What each side's samples are worth, and what its discriminator makes of data and of them."""
    bench = Bench(pmodel.load_data(DATA), n=JUDGED)
    found = {}
    for name, one in sides.items():
        measured = bench.fidelity(torch.as_tensor(one.asked("samples")))
        real, fake = one.asked("verdicts")
        found[name] = {
            "fid": {key: round(measured["fid"][key], 1) for key in ("value", "stderr", "floor")},
            "clear_bags": measured["judge"]["counts"][BAG] / JUDGED,
            "verdict_on_data": round(real, 3),
            "verdict_on_samples": round(fake, 3),
        }
    return found


def main(rounds: int, images: int) -> dict[str, Any]:
    """Train all sides in turns, and look at their samples."""
    names = ("keras float32", "keras mixed_bfloat16", "pmodel")
    sides = {name: Process(side, name, images) for name in names}
    seconds = in_turns(sides, rounds)
    against = {name: ratios(seconds[name], seconds["pmodel"]) for name in names[:-1]}
    return {
        "images_per_second": {name: rate(images, times) for name, times in seconds.items()},
        "ratio": {name: round(statistics.median(found), 2) for name, found in against.items()},
        "ratio_range": {name: [round(found[0], 2), round(found[-1], 2)] for name, found in against.items()},
        "learned": learned(sides),
        "images_seen": images * (rounds + 1),
        "arithmetic": {name: one.asked("arithmetic") for name, one in sides.items()},
        "protocol": f"{rounds} rounds of {images} images in turns, medians; samples after as many steps; seed 0",
        "machine": machine(),
    }


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:]]
    result = main(*(asked or (ROUNDS, IMAGES)))
    print(json.dumps(result, indent=2))
    if not asked:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
