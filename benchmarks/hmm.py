"""Expectation maximisation of hidden Markov models against hmmlearn, both from the same start, interleaved in one process.

    python benchmarks/hmm.py

10⁵ observations in 100 sequences, and in one; 8 and 64 states; Gaussian emissions of eight entries with diagonal and with full
covariances, and 20 symbols. Float64 on both sides, as many threads as the machine has cores, hmmlearn's priors set to those of
maximum likelihood. A round times the same number of iterations of each, the order alternates, and the ratio is the median of
the rounds' ratios. hmmlearn has two implementations: the faster one, by a trial before, takes part. At the end the
log-likelihoods and the posteriors show that both are in the same place.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hmmlearn
import numpy as np
import torch
from hmmlearn.hmm import CategoricalHMM, GaussianHMM
from machine import machine
from torch import Tensor

from pmodel.domain import Discrete, Real, Sequences
from pmodel.explicit.tractable.hmm.hmm import HMM
from pmodel.learning import Batch

TOTAL, ENTRIES, SYMBOLS, FLOOR = 10**5, 8, 20, 1e-12
KINDS = ("diagonal", "full", "categorical")
ITERATIONS = {8: 5, 64: 2}
RESULT = Path(__file__).parent / "results" / "hmm.json"


def sequences(kind: str, states: int, count: int) -> tuple[Sequences, Tensor]:
    """Data of a chain of as many states as will be fitted, that stay for ten steps in the mean."""
    g = np.random.default_rng(0)
    length = TOTAL // count
    moves, jumps = g.random((count, length)) < 0.1, g.integers(1, states, size=(count, length))
    z = (moves * jumps).cumsum(1) % states
    if kind == "categorical":
        table = g.dirichlet(np.full(SYMBOLS, 0.3), states).cumsum(1)
        x = (table[z] < g.random((count, length, 1))).sum(2)
        return Sequences(Discrete((), SYMBOLS), length), torch.from_numpy(x.clip(0, SYMBOLS - 1))
    centres = 2 * g.normal(size=(states, ENTRIES))
    return Sequences(Real((ENTRIES,)), length), torch.from_numpy(centres[z] + g.normal(size=(count, length, ENTRIES)))


def start(kind: str, states: int, x: Tensor) -> dict[str, np.ndarray]:
    """Where both begin: equal probabilities; means at data, or random tables."""
    g = np.random.default_rng(1)
    found = {"initial": np.full(states, 1 / states), "transition": g.dirichlet(np.full(states, 5.0), states)}
    if kind == "categorical":
        return found | {"table": g.dirichlet(np.full(SYMBOLS, 5.0), states)}
    rows = x.reshape(-1, ENTRIES).numpy()
    return found | {"means": rows[g.choice(len(rows), states, replace=False)]}


def ours(kind: str, domain: Sequences, x: Tensor, begin: dict[str, np.ndarray], iterations: int) -> HMM:
    """The model after so many iterations."""
    states = len(begin["initial"])
    covariance: Any = kind if kind != "categorical" else "full"
    model = HMM(domain, states=states, covariance=covariance, shrinkage=0.0, floor=FLOOR)
    model.initial.copy_(torch.from_numpy(begin["initial"]))
    model.transition.copy_(torch.from_numpy(begin["transition"]))
    parts: Any = model.emission.parts
    if kind == "categorical":
        parts.table[:, 0] = torch.from_numpy(begin["table"])
    else:
        parts.anchor(x.reshape(-1, ENTRIES))
        parts.means.copy_(torch.from_numpy(begin["means"]))
    with torch.no_grad():
        for _ in range(iterations):
            model.maximise(model.statistics(Batch(x), torch.Generator()))
    return model


def theirs(implementation: str) -> Callable[..., Any]:
    """Their side after the same."""

    def fit(kind: str, domain: Sequences, x: Tensor, begin: dict[str, np.ndarray], iterations: int) -> Any:
        states = len(begin["initial"])
        common = {"n_iter": iterations, "tol": -np.inf, "init_params": "", "implementation": implementation}
        if kind == "categorical":
            model = CategoricalHMM(states, n_features=SYMBOLS, **common)
            model.emissionprob_ = begin["table"]
        else:
            weight = {"diagonal": 1, "full": 0}[kind]
            name = {"diagonal": "diag", "full": "full"}[kind]
            model = GaussianHMM(states, name, covars_prior=0, covars_weight=weight, means_weight=0, **common)
            model.means_ = begin["means"]
            unit = np.ones((states, ENTRIES)) if kind == "diagonal" else np.tile(np.eye(ENTRIES), (states, 1, 1))
            model.covars_ = unit
        model.startprob_, model.transmat_ = begin["initial"], begin["transition"]
        return model.fit(*flat(x))

    return fit


def flat(x: Tensor) -> tuple[np.ndarray, list[int]]:
    """The form that hmmlearn takes."""
    return x.reshape(x.shape[0] * x.shape[1], -1).numpy(), [x.shape[1]] * len(x)


def timed(fit: Callable[..., Any], *case: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = fit(*case)
    return time.perf_counter() - began, found


def race(kind: str, states: int, count: int, rounds: int, logs: bool) -> dict[str, Any]:
    """One case."""
    domain, x = sequences(kind, states, count)
    case = (kind, domain, x, start(kind, states, x))
    trial = {name: timed(theirs(name), *case, 1)[0] for name in (("scaling", "log") if logs else ("scaling",))}
    faster = min(trial, key=lambda name: trial[name])
    timed(ours, *case, 1)
    iterations = ITERATIONS[states]
    spent: dict[str, list[float]] = {"pmodel": [], "hmmlearn": []}
    fitted: dict[str, Any] = {}
    for number in range(rounds):
        sides = [("pmodel", ours), ("hmmlearn", theirs(faster))]
        for name, fit in sides if number % 2 == 0 else reversed(sides):
            seconds, fitted[name] = timed(fit, *case, iterations)
            spent[name].append(seconds / iterations)
    few = x[:5, :2000]
    rival = sum(fitted["hmmlearn"].score(*flat(sequence[None])) for sequence in few)
    posteriors = fitted["hmmlearn"].predict_proba(*flat(few))
    mine = fitted["pmodel"]
    few_domain = Sequences(domain.element, few.shape[1])
    if few_domain != domain:  # the first part of a long sequence
        mine = copied(mine, few_domain)
    return {
        "seconds_an_iteration": {name: round(statistics.median(values), 4) for name, values in spent.items()},
        "ratio": round(statistics.median(b / a for a, b in zip(spent["pmodel"], spent["hmmlearn"], strict=True)), 2),
        "ratios": [round(b / a, 2) for a, b in zip(spent["pmodel"], spent["hmmlearn"], strict=True)],
        "hmmlearn_trial_seconds": {name: round(seconds, 3) for name, seconds in trial.items()},
        "iterations": iterations,
        "nats_per_observation": float(mine.log_prob(few).sum()) / few[..., :1].numel() if few.ndim == 3 else None,
        "difference_nats_per_observation": abs(float(mine.log_prob(few).sum()) - rival) / (len(few) * few.shape[1]),
        "largest_difference_of_posteriors": float(
            np.abs(mine.posteriors(few).reshape(-1, states).numpy() - posteriors).max()
        ),
    }


def copied(model: HMM, domain: Sequences) -> HMM:
    """The same parameters for sequences of another length."""
    other = HMM(domain, **model.options)
    tensors = {name: t for name, t in model.state_dict().items() if name != "length_frequencies"}
    other.load_state_dict(tensors, strict=False)
    return other


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--states", type=int, nargs="*", default=sorted(ITERATIONS))
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1])
    parser.add_argument("--logs", action="store_true", help="try hmmlearn's recursions in logarithms, too (slow)")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    torch.set_num_threads(os.cpu_count() or 1)
    cases = {}
    for count in args.counts:
        for states in args.states:
            for kind in args.kinds:
                name = f"{kind}, {states} states, {TOTAL} observations in {count}"
                found = cases[name] = race(kind, states, count, args.rounds, args.logs and count > 1)
                print(f"{name}: {found['ratio']}× ({found['seconds_an_iteration']})", flush=True)
    result = {
        "protocol": f"{args.rounds} interleaved rounds, same start, float64, iterations as told, medians",
        "cases": cases,
        "machine": machine(),
        "load_average_at_end": os.getloadavg()[0],
        "versions": {"hmmlearn": hmmlearn.__version__, "numpy": np.__version__},
    }
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
