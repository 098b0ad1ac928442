"""Neural spline flows against zuko's, layer for layer and number for number, interleaved in one process on one thread.

    python benchmarks/splines.py

Six real entries, five layers of rational-quadratic splines with eight bins, networks with two hidden layers of 256
units and SiLU, float32, no linear maps between. A training step is the mean negative log-likelihood of 512 data, its
gradient, and a fused Adam step; sampling draws 1024 data. Three of zuko's flows are the rivals: ``NSF``
(autoregressive, its default), ``NSF(passes=2)`` (a coupling by masked networks), and a flow of
``GeneralCouplingTransform`` (a coupling by plain networks, which moves half of the entries). Ours have as many learned
numbers as theirs, masked ones left out of the count.

A round times so many steps of one side and of the other, the order alternates, and the ratio is the median of the rounds'
ratios. Time is that of the processor, which is that of the clock on an idle machine and stays fair on a busy one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import zuko
from machine import machine
from torch import Tensor, nn

from pmodel.explicit.tractable.flow.element import Spline
from pmodel.explicit.tractable.flow.transform import Composition
from pmodel.explicit.tractable.flow.vector import Autoregressive, VectorCoupling, orders

ENTRIES, LAYERS, BINS, WIDTH = 6, 5, 8, 256
BATCH, DRAWN = 512, 1024
RESULT = Path(__file__).parent / "results" / "splines.json"
NETWORK = {"hidden_features": (WIDTH, WIDTH), "activation": nn.SiLU}
HIDDEN = {"bins": BINS, "transforms": LAYERS, **NETWORK}
FIRST, LAST = list(range(ENTRIES // 2)), list(range(ENTRIES // 2, ENTRIES))


class Ours(nn.Module):
    """Our layers under a normal variable."""

    def __init__(self, *, autoregressive: bool, own: bool) -> None:
        super().__init__()
        if autoregressive:
            parts = [Autoregressive(order, Spline(BINS), 0, width=WIDTH, layers=2) for order in orders(ENTRIES, LAYERS)]
        else:
            sides = [LAST if layer % 2 else FIRST for layer in range(LAYERS)]
            parts = [VectorCoupling(ENTRIES, s, Spline(BINS), 0, width=WIDTH, blocks=1, own=own) for s in sides]
        self.flow = Composition(parts)

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats, ``(N,)``."""
        z, ladj = self.flow(x)
        return ladj - (z.square() + torch.log(torch.tensor(2 * torch.pi))).sum(1) / 2

    def sample(self, n: int) -> Tensor:
        """So many data."""
        return self.flow.inverse(torch.randn(n, ENTRIES))


class Theirs(nn.Module):
    """A flow of zuko."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats, ``(N,)``."""
        return self.flow().log_prob(x)

    def sample(self, n: int) -> Tensor:
        """So many data."""
        return self.flow().sample((n,))


def plain_coupling() -> nn.Module:
    """A flow of zuko with couplings by plain networks."""
    shapes = [(BINS,), (BINS,), (BINS - 1,)]
    masks = [torch.arange(ENTRIES) < ENTRIES // 2, torch.arange(ENTRIES) >= ENTRIES // 2]
    layers = [
        zuko.flows.coupling.GeneralCouplingTransform(
            ENTRIES,
            mask=masks[layer % 2],
            univariate=zuko.transforms.MonotonicRQSTransform,
            shapes=shapes,
            **NETWORK,
        )
        for layer in range(LAYERS)
    ]
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(ENTRIES), torch.ones(ENTRIES), buffer=True
    )
    return zuko.lazy.Flow(layers, base)


def pairs() -> dict[str, tuple[nn.Module, nn.Module]]:
    """Ours and theirs, by what they are."""
    torch.manual_seed(0)
    return {
        "autoregressive, NSF": (Ours(autoregressive=True, own=False), Theirs(zuko.flows.NSF(ENTRIES, **HIDDEN))),
        "coupling, NSF(passes=2)": (
            Ours(autoregressive=False, own=True),
            Theirs(zuko.flows.NSF(ENTRIES, passes=2, **HIDDEN)),
        ),
        "coupling, GeneralCouplingTransform": (Ours(autoregressive=False, own=False), Theirs(plain_coupling())),
    }


def learned(model: nn.Module) -> int:
    """How many numbers it learns that no mask sets to zero."""
    total = sum(p.numel() for p in model.parameters())
    for part in model.modules():
        mask = getattr(part, "mask", None)
        if isinstance(part, nn.Linear) and mask is not None:
            mask = mask() if callable(mask) else mask
            total -= int((~mask.bool()).sum())
    return total


def training(model: nn.Module) -> Callable[[], None]:
    """One step."""
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    x = torch.randn(BATCH, ENTRIES, generator=torch.Generator().manual_seed(0)).sinh()

    def step() -> None:
        optimiser.zero_grad()
        (-model.log_prob(x).mean()).backward()
        optimiser.step()

    return step


def sampling(model: nn.Module) -> Callable[[], None]:
    """One batch of samples."""

    def draw() -> None:
        with torch.no_grad():
            model.sample(DRAWN)

    return draw


def seconds(work: Callable[[], None], repeats: int) -> float:
    """Of the processor, for each repeat."""
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats


def raced(ours: Callable[[], None], theirs: Callable[[], None], rounds: int, repeats: int) -> dict[str, float]:
    """Medians of both, and of the ratios of the rounds."""
    times: dict[str, list[float]] = {"pmodel": [], "zuko": []}
    for number in range(-1, rounds):  # the first warms up
        sides = [("pmodel", ours), ("zuko", theirs)]
        for name, work in sides if number % 2 == 0 else reversed(sides):
            spent = seconds(work, repeats)
            if number >= 0:
                times[name].append(spent)
    ratios = sorted(b / a for a, b in zip(times["pmodel"], times["zuko"], strict=True))
    return {
        "pmodel_milliseconds": 1000 * statistics.median(times["pmodel"]),
        "zuko_milliseconds": 1000 * statistics.median(times["zuko"]),
        "ratio": statistics.median(ratios),
        "lowest_ratio": ratios[0],
        "highest_ratio": ratios[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, (ours, theirs) in pairs().items():
        found[name] = {
            "learned_numbers": {"pmodel": learned(ours), "zuko": learned(theirs)},
            "training": raced(training(ours), training(theirs), args.rounds, args.repeats),
            "sampling": raced(sampling(ours), sampling(theirs), args.rounds, args.repeats),
        }
        ratios = {what: round(found[name][what]["ratio"], 2) for what in ("training", "sampling")}
        print(f"{name}: {ratios}, {found[name]['learned_numbers']}", flush=True)
    result = {
        "protocol": f"{ENTRIES} entries, {LAYERS} layers, {BINS} bins, two hidden layers of {WIDTH}, float32; batches of "
        f"{BATCH}, samples of {DRAWN}; medians of {args.rounds} interleaved rounds of {args.repeats}, processor time",
        "races": found,
        "machine": machine(),
        "load_average_at_end": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "zuko": zuko.__version__},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
