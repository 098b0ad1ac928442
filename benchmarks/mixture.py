"""Expectation maximisation of a Gaussian mixture against scikit-learn, both from the same start, interleaved in one process.

    python benchmarks/mixture.py

10⁶ × 16 numbers, ten components with full covariances, 20 iterations, float64 on both sides, as many threads as the machine
has cores. Both start from the same means (data), equal weights and unit covariances, so that they make the same iterations, and
the same 10⁻⁶ is added to the variances. A round times one fit of each, the order alternates, and the ratio is the median of the
rounds' ratios. At the end the mean log-likelihood shows that both are in the same place.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from pmodel.domain import Real
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import Batch

ENTRIES, COMPONENTS, FLOOR = 16, 10, 1e-6
RESULT = Path(__file__).parent / "results" / "mixture.json"


def clusters(data: int) -> tuple[Tensor, Tensor]:
    """Overlapping correlated clusters ``(N, 16)``, and the data that the means start from."""
    g = np.random.default_rng(0)
    centres = g.normal(size=(COMPONENTS, ENTRIES)) * 2
    noise = g.normal(size=(data, ENTRIES)) @ (g.normal(size=(ENTRIES, ENTRIES)) * 0.5)
    x = centres[g.integers(COMPONENTS, size=data)] + noise
    return torch.from_numpy(x), torch.from_numpy(x[g.choice(data, COMPONENTS, replace=False)])


def ours(x: Tensor, means: Tensor, iterations: int) -> Mixture:
    """The model after so many iterations."""
    model = Mixture(Real((ENTRIES,)), components=COMPONENTS, covariance="full", shrinkage=0.0, floor=FLOOR)
    model.parts.anchor(x)
    model.parts.means.copy_(means)
    with torch.no_grad():
        for _ in range(iterations):
            model.maximise(model.statistics(Batch(x), torch.Generator()))
    return model


def theirs(x: Tensor, means: Tensor, iterations: int) -> GaussianMixture:
    """scikit-learn after the same."""
    rival = GaussianMixture(
        COMPONENTS,
        weights_init=np.full(COMPONENTS, 1 / COMPONENTS),
        means_init=means.numpy(),
        precisions_init=np.tile(np.eye(ENTRIES), (COMPONENTS, 1, 1)),
        reg_covar=FLOOR,
        max_iter=iterations,
        tol=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that it stops after so many iterations is the point
        return rival.fit(x.numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=int, default=10**6)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    x, means = clusters(args.data)
    ours(x[:50_000], means, 2)  # warm up
    times: dict[str, list[float]] = {"pmodel": [], "scikit-learn": []}
    fitted = {}
    for number in range(args.rounds):
        sides = [("pmodel", ours), ("scikit-learn", theirs)]
        for name, fit in sides if number % 2 == 0 else reversed(sides):
            began = time.perf_counter()
            fitted[name] = fit(x, means, args.iterations)
            times[name].append(time.perf_counter() - began)
        print(
            f"round {number + 1}: " + ", ".join(f"{name} {spent[-1]:.1f} s" for name, spent in times.items()),
            flush=True,
        )
    sample = x[:100_000]
    likelihood = {
        "pmodel": float(fitted["pmodel"].log_prob(sample).mean()),
        "scikit-learn": float(fitted["scikit-learn"].score(sample.numpy())),
    }
    ratios = [b / a for a, b in zip(times["pmodel"], times["scikit-learn"], strict=True)]
    result = {
        "protocol": f"{args.data} x {ENTRIES} float64, {COMPONENTS} full covariances, {args.iterations} iterations, "
        f"{args.rounds} interleaved rounds, same start",
        "seconds": times,
        "median_seconds": {name: statistics.median(spent) for name, spent in times.items()},
        "ratio": statistics.median(ratios),
        "nats_per_datum": likelihood,
        "difference_nats": abs(likelihood["pmodel"] - likelihood["scikit-learn"]),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_average_at_end": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"scikit-learn takes {result['ratio']:.1f} times as long; likelihoods differ by {result['difference_nats']:.1e} nats"
    )


if __name__ == "__main__":
    main()
