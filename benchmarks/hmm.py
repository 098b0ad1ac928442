"""Expectation maximisation of hidden Markov models against hmmlearn, both from the same start, interleaved in one process.

    python benchmarks/hmm.py

10⁵ observations in 100 sequences, and in one; 8 and 64 states; Gaussian emissions of eight entries with diagonal and with full
covariances, and 20 symbols. Float64 on both sides, as many threads as the machine has cores, hmmlearn's priors set to those of
maximum likelihood. Where there are 100 sequences, pmodel runs a second time with one process for each core, which share out the
sequences and sum their statistics, as those that torchrun starts do. A round times the same number of iterations of each, the
order alternates, and the ratio is the median of the rounds' ratios. hmmlearn has two implementations: the faster one, by a
trial before, takes part. At the end the log-likelihoods and the posteriors show that both are in the same place.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
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
from pmodel.train.processes import Processes, joined

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


@cache
def prepared(kind: str, states: int, count: int) -> tuple[Any, ...]:
    """A case: the data, and where both sides begin."""
    domain, x = sequences(kind, states, count)
    return kind, domain, x, start(kind, states, x)


def ours(
    kind: str,
    domain: Sequences,
    x: Tensor,
    begin: dict[str, np.ndarray],
    iterations: int,
    group: Processes | None = None,
) -> HMM:
    """The model after so many iterations, which the processes of a group share."""
    group = group or Processes()
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
    part = Batch(x.tensor_split(group.world)[group.rank])
    with torch.no_grad():
        for _ in range(iterations):
            sums = model.statistics(part, torch.Generator())
            group.sum_(list(sums.values()))
            model.maximise(sums)
    return model


def member(orders: Connection, group: dict[str, str]) -> None:
    """One process of a group: it fits what it is told to fit, and answers with the parameters."""
    torch.set_num_threads(1)
    os.environ.update(group)
    with joined("cpu") as processes:
        while (case := orders.recv()) is not None:
            name, iterations = case
            kind, domain, x, begin = prepared(*name)
            model = ours(kind, domain, x, begin, iterations, processes)
            orders.send({name: t.numpy() for name, t in model.state_dict().items()})


@contextmanager
def together(count: int) -> Iterator[Callable[..., HMM]]:
    """As ``ours``, shared by so many processes that are there already."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    context = multiprocessing.get_context("spawn")
    lines = [context.Pipe() for _ in range(count)]
    for rank, (_, far) in enumerate(lines):
        context.Process(target=member, args=(far, group | {"RANK": str(rank)}), daemon=True).start()

    def fit(kind: str, domain: Sequences, x: Tensor, begin: dict[str, np.ndarray], iterations: int) -> HMM:
        for near, _ in lines:
            near.send(((kind, len(begin["initial"]), len(x)), iterations))
        found, *_ = [near.recv() for near, _ in lines]
        model = ours(kind, domain, x[:1], begin, 0)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in found.items()})
        return model

    yield fit
    for near, _ in lines:
        near.send(None)


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


def race(
    kind: str, states: int, count: int, rounds: int, logs: bool, shared: Callable[..., HMM] | None
) -> dict[str, Any]:
    """One case."""
    case = prepared(kind, states, count)
    trial = {name: timed(theirs(name), *case, 1)[0] for name in (("scaling", "log") if logs else ("scaling",))}
    rival, iterations = theirs(min(trial, key=lambda name: trial[name])), ITERATIONS[states]
    sides: dict[str, Callable[..., Any]] = {"pmodel": ours, "hmmlearn": rival}
    if shared:
        sides["pmodel, a process a core"] = shared
    spent: dict[str, list[float]] = {name: [] for name in sides}
    fitted: dict[str, Any] = {name: timed(fit, *case, 1)[1] for name, fit in sides.items() if fit is not rival}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(sides):
            seconds, fitted[name] = timed(sides[name], *case, iterations)
            spent[name].append(seconds / iterations)
    ratios = {name: [b / a for a, b in zip(spent[name], spent["hmmlearn"], strict=True)] for name in sides}
    found = {
        "seconds_an_iteration": {name: round(statistics.median(values), 4) for name, values in spent.items()},
        "ratio": round(statistics.median(ratios["pmodel"]), 2),
        "ratios": [round(ratio, 2) for ratio in ratios["pmodel"]],
        "hmmlearn_trial_seconds": {name: round(seconds, 3) for name, seconds in trial.items()},
        "iterations": iterations,
        **agreement(fitted["pmodel"], fitted["hmmlearn"], case[1], case[2]),
    }
    if shared:
        one, two = fitted["pmodel"].state_dict(), fitted["pmodel, a process a core"].state_dict()
        found["ratio_a_process_a_core"] = round(statistics.median(ratios["pmodel, a process a core"]), 2)
        found["largest_difference_between_processes"] = max(
            float((one[t] - two[t]).abs().max()) for t in one if one[t].numel()
        )
    return found


def agreement(mine: HMM, rival: Any, domain: Sequences, x: Tensor) -> dict[str, Any]:
    """Where both have arrived, by a part of the data."""
    few = x[:5, :2000]
    theirs = sum(rival.score(*flat(sequence[None])) for sequence in few)
    few_domain = Sequences(domain.element, few.shape[1])
    if few_domain != domain:  # the first part of a long sequence
        mine = copied(mine, few_domain)
    posteriors, states = rival.predict_proba(*flat(few)), len(mine.initial)
    observations = len(few) * few.shape[1]
    return {
        "nats_per_observation": float(mine.log_prob(few).sum()) / observations,
        "difference_nats_per_observation": abs(float(mine.log_prob(few).sum()) - theirs) / observations,
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
    with together(os.cpu_count() or 1) as shared:
        for count, states, kind in itertools.product(args.counts, args.states, args.kinds):
            name = f"{kind}, {states} states, {TOTAL} observations in {count}"
            several = shared if count > 1 else None
            found = cases[name] = race(kind, states, count, args.rounds, args.logs and count > 1, several)
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
