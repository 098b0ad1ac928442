"""A judge of one channel that looks at each: for pictures whose channels are pictures of their own (``data.stacked``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from ..data.stacked import modes_of
from ..domain import Domain
from .features import Extractor

__all__ = ["ChannelJudge"]


@final
class ChannelJudge(Extractor):
    """The features of all channels, and the probabilities of all combinations of their classes, one a channel.

    Channels are judged one by one, so the probability of a combination is the product of its classes'. It is confident of a
    picture only where it is at least as confident of each channel.

    Args:
        domain: What one picture is.
        judge: Of its channels, each a picture of one channel.

    Attributes:
        record: That of the judge of one channel, and the number of ``channels``.
    """

    record: dict[str, Any]

    def __init__(self, domain: Domain, judge: Extractor) -> None:
        super().__init__(domain)
        self.judge, self.channels, self.chunk = judge, domain.shape[0], domain.shape[0] * judge.chunk
        self.class_names = modes_of(judge.class_names, self.channels)
        self.classes = judge.classes**self.channels
        self.record = {**(judge.record or {}), "channels": self.channels}

    @property
    def name(self) -> str:
        """That of the judge of one channel, which each is shown to."""
        return f"{self.judge.name}, on each of {self.channels} channels"

    def save(self, path: str | Path) -> Path | None:
        """Write the judge of one channel."""
        return self.judge.save(path)

    def _features(self, x: Tensor) -> Tensor:
        return torch.cat([self.judge(channel) for channel in torch.split(x, 1, 1)], 1)

    def classified(self, features: Tensor) -> Tensor:
        """Probabilities of the combinations, the first channel's class changing last, ``(N, classes ** channels)`` float64.

        Raises:
            NotSupported: if the judge tells no classes apart.
        """
        first, *others = (self.judge.classified(part) for part in features.chunk(self.channels, 1))
        for other in others:
            first = (first[:, :, None] * other[:, None]).flatten(1)
        return first

    def placed(self, features: Tensor) -> Tensor:
        """Each channel's features where neighbours of that channel would be looked for."""
        return torch.cat([self.judge.placed(part) for part in features.chunk(self.channels, 1)], 1)
