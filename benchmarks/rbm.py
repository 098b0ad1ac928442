"""Training a restricted Boltzmann machine against scikit-learn's, in time and in likelihood, interleaved in one process.

    PMODEL_DATA=... python benchmarks/rbm.py [--rounds 5] [--steps 400] [--hidden 500]

Both learn the fixed bits of ``mnist-binary`` with as many hidden units, data in a batch and persistent chains, and one sweep in
each step. scikit-learn gets float32, in which it is faster than in float64. pmodel runs in the arithmetic that it measures to
be fastest here (``precision="auto"``), with its recipe: AdamW and a moving average of the weights, whose time counts. A round
times the same number of steps of both, in turn, the order alternating; the ratio is the median of the rounds' ratios. Then both
are scored on test data alike: by the annealed importance sampling of pmodel, with scikit-learn's weights put into a model of
pmodel, and by the pseudo-likelihood of scikit-learn, whose machine gets pmodel's weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from machine import machine
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

import pmodel
from pmodel.construction import make
from pmodel.explicit.approximate.energy.rbm import RBM
from pmodel.train import plan
from pmodel.train.loop import Training

RESULT = Path(__file__).parent / "results" / "rbm.json"
RATE = 0.1
"""scikit-learn's learning rate: its default. It stays constant; the time of a step does not depend on it."""


class Ours:
    """pmodel's training, step by step."""

    def __init__(self, data: pmodel.Dataset, hidden: int, steps: int) -> None:
        self.model = make("rbm", data.domain, hidden=hidden)
        assert isinstance(self.model, RBM)
        chosen = plan(self.model, data, steps=steps, settings={"binarise": False})
        self.arithmetic, self.steps, self.done = chosen.arithmetic, steps, 0
        self.model.prepare(data.train.x[:5000].long(), None, torch.Generator().manual_seed(0))
        self.stepper = Training(self.model, data, chosen).stepper
        assert self.stepper is not None
        if self.stepper.average is not None:
            self.stepper.average.begin()

    def run(self, count: int) -> None:
        """So many steps."""
        for _ in range(count):
            self.stepper.step(self.done, self.done / self.steps)
            self.done += 1

    def finished(self) -> RBM:
        """The model with its averaged weights."""
        if self.stepper.average is not None:
            self.stepper.average.swap()
        return self.model.eval()


class Theirs:
    """scikit-learn's, by the method that its ``fit`` calls for each batch, without the checks of ``partial_fit``."""

    def __init__(self, x: np.ndarray, hidden: int, batch: int) -> None:
        self.x, self.batch, self.done = x, batch, 0
        self.order = np.random.default_rng(0)
        self.model = BernoulliRBM(hidden, learning_rate=RATE, batch_size=batch, random_state=0)
        self.model.partial_fit(x[:batch])

    def run(self, count: int) -> None:
        """So many steps, on rows in random order."""
        for _ in range(count):
            rows = self.order.integers(len(self.x), size=self.batch)
            self.model._fit(self.x[rows], self.model.random_state_)
            self.done += 1

    def as_ours(self, like: RBM) -> RBM:
        """The same machine as a model of pmodel."""
        twin = RBM(like.domain, hidden=len(like.hidden))
        with torch.no_grad():
            twin.start.copy_(like.start)
            twin.offset.zero_()
            twin.weight.copy_(torch.from_numpy(self.model.components_.T.copy()))
            twin.hidden.copy_(torch.from_numpy(self.model.intercept_hidden_))
            visible = torch.from_numpy(self.model.intercept_visible_).float()
            twin.visible.copy_(visible + 0.5 * twin.weight.sum(1))
        return twin.eval()


def pseudo_likelihood(model: RBM, x: Tensor) -> float:
    """scikit-learn's estimate: D log p(x_i | the others), for one random entry i of each datum."""
    plain = model._machine(None)
    rival = BernoulliRBM(len(model.hidden), random_state=0)
    rival.fit(x[:2].flatten(1).float().numpy())  # its other attributes
    with torch.no_grad():
        rival.components_ = plain.weight.T.contiguous().numpy()
        rival.intercept_hidden_, rival.intercept_visible_ = plain.hidden[0].numpy(), plain.visible[0].numpy()
    return float(rival.score_samples(x.flatten(1).float().numpy()).mean())


def measured(rounds: int, steps: int, hidden: int) -> dict[str, Any]:
    """Seconds of both in turn, and where they end."""
    data = pmodel.load_data("mnist-binary")
    ours = Ours(data, hidden, (rounds + 1) * steps)
    batch = ours.stepper.batches.size
    theirs = Theirs(data.train.x.flatten(1).float().numpy(), hidden, batch)
    sides = {"pmodel": ours, "scikit-learn": theirs}
    for side in sides.values():
        side.run(steps)  # warm up
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            began = time.perf_counter()
            sides[name].run(steps)
            times[name].append(round(time.perf_counter() - began, 3))
        print(", ".join(f"{name} {spent[-1]:.2f} s" for name, spent in times.items()), flush=True)
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    model, x = ours.finished(), data.test.x.long()[:2000]
    machines = {"pmodel": model, "scikit-learn": theirs.as_ours(model)}
    scores = {name: m.score(x, generator=0, effort=4) for name, m in machines.items()}
    return {
        "protocol": f"mnist-binary, {hidden} hidden units, batches and chains of {batch}, {rounds} interleaved rounds of "
        f"{steps} steps after as many to warm up",
        "arithmetic": {"pmodel": ours.arithmetic.precision, "scikit-learn": "float32"},
        "threads": torch.get_num_threads(),
        "seconds": times,
        "images_per_second": {name: round(batch * steps / statistics.median(spent)) for name, spent in times.items()},
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "nats": {name: round(-found.mean, 2) for name, found in scores.items()},
        "nats_stderr": {name: round(found.stderr, 2) for name, found in scores.items()},
        "nats_estimator": scores["pmodel"].estimator,
        "pseudo_likelihood": {name: round(pseudo_likelihood(m, x), 2) for name, m in machines.items()},
        "steps_in_all": ours.done,
        "machine": machine(),
        "load_average_at_end": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = measured(args.rounds, args.steps, args.hidden)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{result['ratio']:.1f} times as fast; {result['nats']}, pseudo-likelihood {result['pseudo_likelihood']}")


if __name__ == "__main__":
    main()
