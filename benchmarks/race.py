"""Programs that train in turns, each in a process of its own, which waits while another one trains."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

__all__ = ["Process", "Side", "in_turns", "rate", "ratios"]


class Side(Protocol):
    """One of those that are compared; it may answer other questions too, which are methods without arguments."""

    def round(self) -> None:
        """Train on as many images as a round has."""


class Process:
    """A side in a process of its own, which answers questions one by one.

    Args:
        made: What makes the side there, from these arguments.
        arguments: Its arguments.
    """

    def __init__(self, made: Callable[..., Side], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        context.Process(target=_answer, args=(made, arguments, theirs), daemon=True).start()
        theirs.close()  # so that the end of the process ends the wait for its answer
        self.pipe.recv()  # it is ready: nobody prepares while another trains

    def asked(self, question: str) -> Any:
        """What its method of this name returns; of ``round``, the seconds that it took."""
        self.pipe.send(question)
        return self.pipe.recv()


def in_turns(sides: dict[str, Process], rounds: int) -> dict[str, list[float]]:
    """The seconds of each side's rounds; before them all have one that is not counted, in which they warm up and compile."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            seconds[name].append(side.asked("round"))
    return {name: times[1:] for name, times in seconds.items()}


def rate(images: int, seconds: list[float]) -> int:
    """Images a second, by the median round."""
    return round(images / statistics.median(seconds))


def ratios(rival: list[float], ours: list[float]) -> list[float]:
    """A rival's seconds over ours, round by round, from the smallest."""
    return sorted(a / b for a, b in zip(rival, ours, strict=True))


def _answer(made: Callable[..., Side], arguments: tuple[Any, ...], pipe: Connection) -> None:
    """Train a round and tell the seconds, or whatever else is asked."""
    logging.disable(logging.INFO)
    torch.manual_seed(0)
    side = made(*arguments)
    pipe.send("ready")
    with contextlib.suppress(EOFError):  # nobody asks any more
        while True:
            question = pipe.recv()
            began = time.perf_counter()
            answer = getattr(side, question)()
            pipe.send(time.perf_counter() - began if question == "round" else answer)
