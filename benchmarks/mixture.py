"""Expectation maximisation of a Gaussian mixture against scikit-learn, both from the same start, interleaved in one process.

    PMODEL_DATA=... python benchmarks/mixture.py

Two cases, full covariances and float64 on both sides, as many threads as the machine has cores:

* ``clusters``: 10⁶ × 16 numbers, ten components, from data as means and unit covariances;
* ``zeros``: the zeros of MNIST's training pictures divided by 255, 784 entries, eight components, from a k-means partition.
  Here pmodel leaves a datum out of the scatter of a component whose responsibility for it is below 10⁻¹⁶, float64's
  resolution of one.

Both sides start from the same parameters, so that they make the same iterations, and add the same number to the variances. A
round times one fit of each, the order alternates, and the ratio is the median of the rounds' ratios. At the end the mean
log-likelihoods and the parameters show that both are in the same place.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from machine import machine
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pmodel.data import load_data
from pmodel.domain import Real
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import Batch

RESULT = Path(__file__).parent / "results" / "mixture.json"


@dataclass(frozen=True)
class Case:
    """Data, and the parameters that both sides start from.

    Args:
        title: What is fitted, in words.
        x: Data, ``(N, D)``.
        weights: ``(K,)``.
        means: ``(K, D)``.
        factors: Cholesky factors of the covariances, ``(K, D, D)``.
        floor: What both add to the variances.
        iterations: Of expectation maximisation.
    """

    title: str
    x: Tensor
    weights: Tensor
    means: Tensor
    factors: Tensor
    floor: float
    iterations: int


def clusters(data: int, iterations: int) -> Case:
    """Ten overlapping correlated clusters."""
    K, D, g = 10, 16, np.random.default_rng(0)
    centres = g.normal(size=(K, D)) * 2
    noise = g.normal(size=(data, D)) @ (g.normal(size=(D, D)) * 0.5)
    x = centres[g.integers(K, size=data)] + noise
    means = torch.from_numpy(x[g.choice(data, K, replace=False)])
    eye = torch.eye(D, dtype=torch.float64).repeat(K, 1, 1)
    title = f"{data} x {D}, {K} full covariances"
    return Case(title, torch.from_numpy(x), torch.full((K,), 1 / K, dtype=torch.float64), means, eye, 1e-6, iterations)


def zeros(iterations: int) -> Case:
    """The zeros of MNIST, from the covariances of a k-means partition."""
    K, floor = 8, 1e-3
    x = load_data("mnist:0").train.x[:].flatten(1).double() / 255
    start = Mixture(Real((x.shape[1],)), components=K, covariance="full", shrinkage=0.0, floor=floor)
    start.initialise(Batch(x), torch.Generator().manual_seed(0))
    title = f"{len(x)} x {x.shape[1]} (zeros of MNIST), {K} full covariances"
    return Case(title, x, start.weights, start.means, start.parts.scale_tril, floor, iterations)


def ours(case: Case) -> Mixture:
    """The model after the iterations."""
    K, D = case.means.shape
    model = Mixture(Real((D,)), components=K, covariance="full", shrinkage=0.0, floor=case.floor)
    model.parts.anchor(case.x)
    model.weights.copy_(case.weights)
    model.parts.means.copy_(case.means)
    model.parts.scale_tril.copy_(case.factors)
    with torch.no_grad():
        for _ in range(case.iterations):
            model.maximise(model.statistics(Batch(case.x), torch.Generator()))
    return model


def theirs(case: Case) -> GaussianMixture:
    """scikit-learn after the same."""
    rival = GaussianMixture(
        len(case.means),
        weights_init=case.weights.numpy(),
        means_init=case.means.numpy(),
        precisions_init=torch.cholesky_inverse(case.factors).numpy(),
        reg_covar=case.floor,
        max_iter=case.iterations,
        tol=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that it stops after so many iterations is the point
        return rival.fit(case.x.numpy())


SIDES: list[tuple[str, Callable[[Case], Any]]] = [("pmodel", ours), ("scikit-learn", theirs)]


def raced(case: Case, rounds: int) -> dict[str, Any]:
    """Seconds of both sides in turn, and how far apart they end."""
    times: dict[str, list[float]] = {name: [] for name, _ in SIDES}
    fitted: dict[str, Any] = {}
    for number in range(rounds):
        for name, fit in SIDES if number % 2 == 0 else SIDES[::-1]:
            began = time.perf_counter()
            fitted[name] = fit(case)
            times[name].append(round(time.perf_counter() - began, 3))
        print(f"{case.title}: " + ", ".join(f"{name} {spent[-1]:.1f} s" for name, spent in times.items()), flush=True)
    model, rival, sample = fitted["pmodel"], fitted["scikit-learn"], case.x[:100_000]
    nats = {"pmodel": float(model.log_prob(sample).mean()), "scikit-learn": float(rival.score(sample.numpy()))}
    ratios = [theirs / ours for ours, theirs in zip(*times.values(), strict=True)]
    return {
        "protocol": f"{case.title}, float64, floor {case.floor:g}, {case.iterations} iterations, {rounds} interleaved rounds, "
        "same start",
        "seconds": times,
        "median_seconds": {name: statistics.median(spent) for name, spent in times.items()},
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "nats_per_datum": nats,
        "difference_nats": abs(nats["pmodel"] - nats["scikit-learn"]),
        "largest_difference_of_a_mean": float(np.abs(model.means.numpy() - rival.means_).max()),
        "machine": machine(),
        "load_average_at_end": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=int, default=10**6)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=("both", "clusters", "zeros"), default="both")
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    if args.case != "zeros":
        ours(clusters(50_000, 2))  # warm up
        result |= raced(clusters(args.data, args.iterations), args.rounds)
    if args.case != "clusters":
        ours(zeros(1))
        result["zeros"] = raced(zeros(args.iterations // 2), args.rounds)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, row in (("clusters", result), ("zeros", result["zeros"])):
        print(f"{name}: {row['ratio']:.1f} times as fast; likelihoods differ by {row['difference_nats']:.1e} nats")


if __name__ == "__main__":
    main()
