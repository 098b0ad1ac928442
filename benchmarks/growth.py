"""What a step of the pair that grows takes at each size up to 1024x1024, without taking it: parameters, operations, memory.

    python benchmarks/growth.py

The networks are ``progan``'s with the channels of Karras et al. 2018 (512 latents and at most 512 channels, 16 at 1024x1024),
built of tensors that have shapes and hold no numbers. A step is both players' phases at full size with the default
game: the discriminator's with the penalties on its slopes, whose gradients are differentiated once more, and the generator's.

- *Operations* are those of convolutions and matrix products, forwards and backwards, as PyTorch counts them: two for a product
  that is added to a sum.
- *Memory* is what is kept for the way back in the discriminator's phase, which keeps most: every tensor once. To it come four
  numbers for each parameter that learns (weight, gradient and two moments) and one for the moving average.

Both are counted once more where the step is really taken, for the default networks at small sizes, beside the seconds of
processor time and the peak of memory of the process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pmodel.domain import Discrete
from pmodel.evaluation.cost import memory_watched
from pmodel.implicit.game.pair import resting
from pmodel.implicit.progan import ProGAN

RESULT = Path(__file__).parent / "results" / "growth.json"
SIZES = (32, 64, 128, 256, 512, 1024)
PAPER = {"latent": 512, "widest": 512}
MEASURED = {32: 64, 64: 32}
"""Sides, and data in a batch, of the steps that are taken."""
MIB = 2**20


def discriminate(model: ProGAN, x: Tensor, z: Tensor) -> None:
    """The discriminator's phase of a step, at full size."""
    grown = float(len(model.scales) - 1)
    with torch.no_grad(), resting(model.generator):
        fake = model.generator(z, None, grown)
    loss = model.game.discriminator(
        lambda seen, _: model.discriminator(seen, None, grown), x, fake, None, torch.Generator()
    )
    loss.total.backward(inputs=list(model.discriminator.parameters()))


def generate(model: ProGAN, x: Tensor, z: Tensor) -> None:
    """The generator's."""
    grown = float(len(model.scales) - 1)
    fake = model.generator(z, None, grown)
    loss = model.game.generator(
        lambda seen, _: model.discriminator(seen, None, grown), x, fake, None, torch.Generator()
    )
    loss.total.backward(inputs=list(model.generator.parameters()))


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


def counted(model: ProGAN, x: Tensor, z: Tensor) -> dict[str, float]:
    """Operations of a step, and the memory that it keeps, for each datum."""
    with Operations() as counter:
        with kept() as storages:
            discriminate(model, x, z)
        generate(model, x, z)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    memory = sum(size for storage, size in storages.items() if storage not in own)
    return {
        "operations_for_a_datum": counter.total / len(x),
        "mib_kept_for_a_datum": round(memory / len(x) / MIB, 3),
    }


def parameters(model: ProGAN) -> dict[str, Any]:
    """Learned numbers of each player, and what they and what learns them takes."""
    players = {"generator": model.generator, "discriminator": model.discriminator}
    counts = {name: sum(p.numel() for p in player.parameters()) for name, player in players.items()}
    return {"parameters": counts, "mib_of_parameters": round(sum(counts.values()) * 5 * 4 / MIB, 1)}


def on_paper(side: int) -> dict[str, Any]:
    """A size with the paper's channels."""
    n = 4
    with FakeTensorMode():
        model = ProGAN(Discrete((3, side, side), 256), channels=min(512, 16 * 1024 // side), **PAPER)
        return {
            "side": side,
            **parameters(model),
            **counted(model, torch.empty(n, 3, side, side), torch.empty(n, PAPER["latent"])),
        }


def taken(side: int, n: int) -> dict[str, Any]:
    """A size with the default channels: counted without numbers and with them, and measured."""
    with FakeTensorMode():
        model = ProGAN(Discrete((3, side, side), 256))
        estimate = counted(model, torch.empty(n, 3, side, side), torch.empty(n, 64))
    torch.manual_seed(0)
    model = ProGAN(Discrete((3, side, side), 256))
    noise = torch.Generator().manual_seed(0)
    x, z = torch.randn(n, 3, side, side, generator=noise), torch.randn(n, 64, generator=noise)
    with memory_watched(torch.device("cpu")) as memory:
        discriminate(model, x, z)
    seconds = []
    for _ in range(3):
        began = time.process_time()
        discriminate(model, x, z)
        generate(model, x, z)
        seconds.append(time.process_time() - began)
    return {
        "side": side,
        "batch": n,
        "estimate": estimate,
        "counted": counted(model, x, z),
        "processor_seconds_of_a_step": round(min(seconds), 3),
        "peak_mib_for_a_datum": None if memory.peak is None else round(memory.peak / n / MIB, 3),
    }


def main() -> None:
    """Count and measure all sizes."""
    result = {
        "machine": machine(),
        "measured": [taken(side, n) for side, n in MEASURED.items()],
        "paper": [on_paper(side) for side in SIZES],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
