"""One run over several processes: ``torchrun --nproc-per-node 2 -m pmodel fit …``.

Every process holds the whole model and takes the same decisions; what differs is the slice of each batch that it computes, and
gradients and statistics are summed over all. Four exchanges are enough: a sum, an agreement that anyone can call for, and two
in which process 0 tells the others. Plain bytes and numbers travel, never pickles.

A process that fails leaves a note for the others before its connections close. So a survivor, whose exchange breaks at that
moment, can say why; where there is no note, the process was killed or its machine is down.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from ..errors import LostProcess, PmodelError, RunError, TrainingError, shortened

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

__all__ = ["ALONE", "PATIENCE", "Processes", "joined", "launcher"]

PATIENCE = 600.0
"""Seconds that a process waits for the others: process 0 may meanwhile time steps, score validation data or save."""
NOTE = "failure"
"""The key of the first failure's note."""
MISSED = "missed"
"""The key of how many processes miss another."""
RESUME = "start it again with the same command and --resume: it goes on from the last checkpoint"


class Processes:
    """The processes of a run; as it stands, one that is alone.

    Attributes:
        rank: The number of this process.
        world: The number of all.
    """

    rank: int = 0
    world: int = 1

    @property
    def leader(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in its own precision.

        All processes get the same bits. They pass tensors of the same shapes and types in the same order.

        Raises:
            LostProcess: if another process is gone.
        """

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process.

        Raises:
            LostProcess: if another process is gone.
        """
        return flag

    def agreed(self, value: Any) -> Any:
        """Process 0's value, which is JSON, in every process.

        Raises:
            LostProcess: if another process is gone.
        """
        return value

    def share_(self, tensors: Sequence[Tensor]) -> None:
        """Replace the content of each tensor by process 0's, bit for bit.

        Raises:
            LostProcess: if another process is gone.
        """


ALONE = Processes()
"""A run in one process."""


@final
class _Group(Processes):
    """The processes that torchrun started.

    Args:
        rank: The number of this process.
        world: The number of all.
        store: Where notes are left.
    """

    def __init__(self, rank: int, world: int, store: Store) -> None:
        self.rank, self.world, self.store = rank, world, store

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        for group in _by_type(tensors):
            flat = _flat(group)
            self._all_reduce(flat)
            _unflatten_(group, flat)

    def any(self, flag: bool) -> bool:
        count = torch.tensor(int(flag))
        self._all_reduce(count)
        return bool(count)

    def agreed(self, value: Any) -> Any:
        content = json.dumps(value).encode() if self.leader else b""
        length = torch.tensor(len(content))
        self._broadcast(length)
        raw = torch.frombuffer(bytearray(content.ljust(int(length))), dtype=torch.uint8)
        self._broadcast(raw)
        return json.loads(raw.numpy().tobytes())

    def share_(self, tensors: Sequence[Tensor]) -> None:
        for group in _by_type(tensors):
            flat = _flat(group)
            self._broadcast(flat.view(torch.uint8))
            _unflatten_(group, flat)

    def _all_reduce(self, tensor: Tensor) -> None:
        from torch.distributed import all_reduce

        with self._watched():
            all_reduce(tensor)

    def _broadcast(self, tensor: Tensor) -> None:
        from torch.distributed import broadcast

        with self._watched():
            broadcast(tensor, src=0)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Say in words why an exchange broke."""
        try:
            yield
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> LostProcess:
        note = self._note()
        lost = self._explained(error, note)
        lost.told = note is not None or not self._first()
        return lost

    def _explained(self, error: RuntimeError, note: Mapping[str, Any] | None) -> LostProcess:
        if note is not None:
            return LostProcess(
                f"Process {note['rank']} of {self.world} failed, and process {self.rank} cannot go on without it.",
                got=note["words"],
                hint=f"mend that, then {RESUME}",
            )
        late = "timed out" in str(error).lower()
        return LostProcess(
            f"Another of the {self.world} processes of this run "
            + ("does not answer" if late else "is gone: it was killed, ran out of memory, or its machine is down")
            + f"; process {self.rank} cannot go on without it.",
            got=_reason(error),
            hint=RESUME,
        )

    def leave_note(self, error: BaseException) -> None:
        """Tell the others why this process fails, if it is the first."""
        words = error.problem if isinstance(error, PmodelError) else f"{type(error).__name__}: {error}"
        note = json.dumps({"rank": self.rank, "words": shortened(words)})
        with contextlib.suppress(RuntimeError):  # the store is gone with process 0: nothing can be told
            self.store.compare_set(NOTE, "", note)

    def _first(self) -> bool:
        """Whether this process is the first to miss another: it tells the user for all."""
        with contextlib.suppress(RuntimeError):
            return int(self.store.add(MISSED, 1)) == 1
        return True

    def _note(self) -> dict[str, Any] | None:
        with contextlib.suppress(RuntimeError):
            if self.store.check([NOTE]):
                return dict(json.loads(self.store.get(NOTE)))
        return None


def _reason(error: RuntimeError) -> str:
    """The first sentence of PyTorch's message, without the place in its source."""
    return re.sub(r"^\[\S+:\d+\] ", "", str(error)).split(". ")[0].split("\n")[0]


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors that can travel together."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return [group for group in groups.values() if sum(tensor.numel() for tensor in group)]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors' entries in a row, in logical order whatever their layout in memory."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten_(tensors: Sequence[Tensor], flat: Tensor) -> None:
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view(tensor.shape))


@contextmanager
def joined(device: str = "auto", *, patience: float = PATIENCE) -> Iterator[Processes]:
    """The processes of this run, for as long as the block lasts: those that torchrun started, else ``ALONE``.

    With GPUs, each process takes the one of its local number. Sums go over NCCL where each has one of its own, and over gloo
    otherwise.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        patience: Seconds to wait for another process before it is given up.

    Raises:
        RunError: if the environment names a process group, but not where it meets.
        LostProcess: if the other processes do not come.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    hook = sys.excepthook
    processes = _join(_backend(device), timedelta(seconds=patience))
    try:
        yield processes
    except BaseException as error:
        if not isinstance(error, LostProcess):
            processes.leave_note(error)
        _part(failed=True)
        raise
    else:
        _part(failed=False)
    finally:
        sys.excepthook = hook  # PyTorch replaces it when processes join


def launcher() -> str:
    """What comes before ``pmodel`` in the command that starts as many processes again; nothing for one."""
    world = os.environ.get("WORLD_SIZE", "1")
    if "RANK" not in os.environ or world == "1":
        return ""
    if os.environ.get("LOCAL_WORLD_SIZE") == world:
        return f"torchrun --standalone --nproc-per-node {world} -m "
    return "torchrun … -m "


def _backend(device: str) -> str:
    """How tensors travel; makes the GPU of this process the current one."""
    if device == "cpu" or not torch.cuda.is_available():
        return "gloo"
    count = torch.cuda.device_count()
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % count)
    own = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= count and torch.distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if own else "gloo"


def _join(backend: str, timeout: timedelta) -> _Group:
    # Imported later, as optimisers do, its default arguments would keep the group for ever: its threads would then be alive
    # when the interpreter ends, and now and then abort the process.
    import torch.distributed.nn.functional  # noqa: F401
    from torch.distributed import PrefixStore, init_process_group, is_initialized  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    if is_initialized():
        raise TrainingError(
            "This process has joined a process group already.",
            hint="call torch.distributed.destroy_process_group() before fit, which makes its own",
        )
    try:
        store, rank, world = next(rendezvous("env://", timeout=timeout))
        # A second run in the same processes must not meet under the addresses of the first.
        store = PrefixStore(f"pmodel/{store.add(f'pmodel/joined/{rank}', 1)}", store)
        init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    except ValueError as error:
        raise RunError(
            "RANK and WORLD_SIZE are set, but not where the processes meet.",
            got=str(error),
            hint="start the run with torchrun, or unset RANK and WORLD_SIZE to run in one process",
        ) from error
    except RuntimeError as error:
        raise LostProcess(
            "The processes of this run did not find each other.",
            got=_reason(error),
            hint="check that all were started with the same --nnodes and --rdzv-endpoint, and that the machines"
            " reach each other; GLOO_SOCKET_IFNAME names the network to use",
        ) from error
    return _Group(rank, world, store)


def _part(*, failed: bool) -> None:
    """Close the connections: at once after a failure, so that the others notice."""
    from torch.distributed import destroy_process_group, group

    with contextlib.suppress(RuntimeError):
        if failed and group.WORLD is not None:
            group.WORLD.abort()
        destroy_process_group()
