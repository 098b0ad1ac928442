"""What a step of pairs that grow takes up to 1024x1024 and 256x256, without taking it: parameters, operations, memory.

    python benchmarks/growth.py

The networks are built of tensors that have shapes and hold no numbers: ``progan`` with the channels of Karras et al. 2018 (512
latents and at most 512 channels, 16 at 1024x1024), ``transgan`` with the features and blocks that Jiang et al. 2021 have for
256x256, in windows of 16x16 tokens as there, and once more with full attention. A step is both players' phases at full size
with the default game: the discriminator's with the penalties on its slopes, whose gradients are differentiated once more, and
the generator's.

- *Operations* are those of convolutions and matrix products, forwards and backwards, as PyTorch counts them: two for a product
  that is added to a sum.
- *Memory* is what is kept for the way back, every tensor once, in the phase that keeps more. To it come four numbers for each
  parameter that learns (weight, gradient and two moments) and one for the moving average.

Both are counted once more where the step is really taken, for the default networks at small sizes, beside the seconds of
processor time and the peak of memory of the process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, final

import torch
from machine import machine
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pmodel.domain import Discrete
from pmodel.evaluation.cost import memory_watched
from pmodel.implicit.game.pair import AdversarialPair, resting
from pmodel.implicit.progan import ProGAN
from pmodel.implicit.transgan import TransGAN
from pmodel.learning import Loss

RESULT = Path(__file__).parent / "results" / "growth.json"
PLAYERS, MIB = ("discriminator", "generator"), 2**20
TRANSFORMERS = {"latent": 512, "width": 1024, "depths": (5, 4), "heads": 4, "patch": 4}
TRANSFORMERS |= {"discriminator_width": 384, "discriminator_depths": (3, 3, 4)}


@final
@dataclass(frozen=True)
class Case:
    """A pair.

    Args:
        made: The pair for pictures and options.
        paper: The paper's options at a side.
        sides: Of pictures that are counted on paper.
        taken: Sides, and data in a batch, of the steps that are taken.
        options: Options there.
    """

    made: type[ProGAN | TransGAN]
    paper: Callable[[int], dict[str, Any]]
    sides: tuple[int, ...]
    taken: dict[int, int]
    options: Callable[[int], dict[str, Any]] = lambda side: {}


CASES = {
    "progan": Case(
        ProGAN,
        lambda side: {"latent": 512, "widest": 512, "channels": min(512, 16 * 1024 // side)},
        (32, 64, 128, 256, 512, 1024),
        {32: 64, 64: 32},
    ),
    "transgan": Case(TransGAN, lambda side: {**TRANSFORMERS, "window": 16}, (32, 64, 128, 256), {32: 32, 64: 8}),
    "transgan, full attention": Case(
        TransGAN,
        lambda side: {**TRANSFORMERS, "window": side},
        (32, 64, 128, 256),
        {32: 16, 64: 2},
        lambda side: {"window": side},
    ),
}


def grown(model: AdversarialPair) -> tuple[Any, ...]:
    """What the networks are told beside data and label: one that grows step by step, that it has."""
    return (float(len(model.scales) - 1),) if isinstance(model, ProGAN) else ()


def loss(model: AdversarialPair, player: str, x: Tensor, z: Tensor) -> Loss:
    """What a player minimises in its phase, at full size."""
    with torch.set_grad_enabled(player == "generator"), resting(model.generator):
        fake = model.generator(z, None, *grown(model))
    phase = getattr(model.game, player)
    found: Loss = phase(
        lambda seen, _: model.discriminator(seen, None, *grown(model)), x, fake, None, torch.Generator()
    )
    return found


def descend(model: AdversarialPair, player: str, x: Tensor, z: Tensor) -> None:
    """A player's phase, but for the optimiser."""
    total = loss(model, player, x, z).total
    total.backward(inputs=list(getattr(model, player).parameters()))  # type: ignore[no-untyped-call]


@contextmanager
def kept() -> Iterator[dict[int, int]]:
    """The bytes of every storage that is kept for the way back."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


class Operations(TorchDispatchMode):
    """Counts them, in gradients of gradients too."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=answer)
        return answer


def counted(model: AdversarialPair, x: Tensor, z: Tensor) -> dict[str, float]:
    """Operations of a step, and the memory that it keeps, for each datum."""
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    memory = []
    with Operations() as counter:
        for player in PLAYERS:
            with kept() as storages:
                descend(model, player, x, z)
            memory.append(sum(size for storage, size in storages.items() if storage not in own))
    return {
        "operations_for_a_datum": counter.total / len(x),
        "mib_kept_for_a_datum": round(max(memory) / len(x) / MIB, 3),
    }


def parameters(model: AdversarialPair) -> dict[str, Any]:
    """Learned numbers of each player, and what they and what learns them takes."""
    counts = {name: sum(p.numel() for p in getattr(model, name).parameters()) for name in PLAYERS}
    return {"parameters": counts, "mib_of_parameters": round(sum(counts.values()) * 5 * 4 / MIB, 1)}


def on_paper(case: Case, side: int, n: int = 4) -> dict[str, Any]:
    """A size with the paper's networks."""
    with FakeTensorMode():
        model = case.made(Discrete((3, side, side), 256), **case.paper(side))
        x, z = torch.empty(n, 3, side, side), torch.empty(n, model.latent)
        return {"side": side, **parameters(model), **counted(model, x, z)}


def taken(name: str, side: int) -> dict[str, Any]:
    """A size with the default networks: measured, and counted with numbers and without; in a process with nothing freed yet."""
    case = CASES[name]
    n, domain, options = case.taken[side], Discrete((3, side, side), 256), case.options(side)
    torch.manual_seed(0)
    model = case.made(domain, **options)
    noise = torch.Generator().manual_seed(0)
    x, z = torch.randn(n, 3, side, side, generator=noise), torch.randn(n, model.latent, generator=noise)
    with memory_watched(torch.device("cpu")) as memory:
        for player in PLAYERS:
            descend(model, player, x, z)
    seconds = []
    for _ in range(3):
        began = time.process_time()
        for player in PLAYERS:
            descend(model, player, x, z)
        seconds.append(time.process_time() - began)
    numbers = counted(model, x, z)
    with FakeTensorMode():
        model = case.made(domain, **options)
        estimate = counted(model, torch.empty(n, 3, side, side), torch.empty(n, model.latent))
    return {
        "side": side,
        "batch": n,
        "estimate": estimate,
        "counted": numbers,
        "processor_seconds_of_a_step": round(min(seconds), 3),
        "peak_mib_for_a_datum": None if memory.peak is None else round(memory.peak / n / MIB, 3),
    }


def main() -> None:
    """Count and measure all sizes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        models = {
            name: {
                "measured": [fresh.submit(taken, name, side).result() for side in case.taken],
                "paper": [on_paper(case, side) for side in case.sides],
            }
            for name, case in CASES.items()
        }
    result = {"machine": machine(), "models": models}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
