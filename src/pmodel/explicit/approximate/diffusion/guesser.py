"""A network and what its answers mean: guesses of the datum, and of the variance around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor, nn

from ....nn.conditioning import NONE
from .prediction import Parametrisation
from .sampler import Denoise, Guess
from .schedule import Levels

__all__ = ["Guesser"]


@final
@dataclass(frozen=True, eq=False)
class Guesser:
    """A network that denoises.

    Args:
        net: From x_t, times and labels to answers of the shape of x_t, or twice as many.
        prediction: What the answers are.
        learned: Whether the second half of them says the variance.
        bounded: Whether data lie in [-1, 1], to which a guess is then clipped.
    """

    net: nn.Module
    prediction: Parametrisation
    learned: bool = False
    bounded: bool = False

    def answer(self, x_t: Tensor, time: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The answer for each entry, and where the variance lies, in [0, 1] if it is between the two bounds; or None."""
        answer = cast(Tensor, self.net(x_t, time.to(x_t.dtype), given)).to(x_t.dtype)
        if not self.learned:
            return answer, None
        answer, said = answer.reshape(len(x_t), 2, *x_t.shape[1:]).unbind(1)
        return answer, (said + 1) / 2

    def __call__(
        self, x_t: Tensor, grid: Levels, t: Tensor, given: Tensor | None, *, clip: bool = True, guidance: float = 1.0
    ) -> Guess:
        r"""The guess of the datum and of the variance.

        Args:
            x_t: Noised data, on the scale of the chain.
            grid: The levels of the chain.
            t: The level of each datum, ``(N,)``.
            given: Labels, or None.
            clip: Whether to clip the guess to [-1, 1] where data are bounded.
            guidance: The w of :math:`\epsilon_u + w (\epsilon_c - \epsilon_u)` (Ho & Salimans 2022), in whatever units the
                network answers: x_0 and the noise are affine in its answer.
        """
        alpha, sigma = grid.signal_and_noise(t, x_t)
        answer, fraction = self.answer(x_t, grid.times[t], given)
        if guidance != 1 and given is not None:
            free, _ = self.answer(x_t, grid.times[t], torch.full_like(given, NONE))
            answer = free + guidance * (answer - free)
        x_0 = self.prediction.clean(answer, x_t, alpha, sigma)
        return Guess(x_0.clamp(-1, 1) if clip and self.bounded else x_0, fraction)

    def at(self, grid: Levels, given: Tensor | None, *, clip: bool = True, guidance: float = 1.0) -> Denoise:
        """Guesses for data that are all at one level."""

        def denoise(x_t: Tensor, t: int) -> Guess:
            of_each = torch.full((len(x_t),), t, device=x_t.device)
            return self(x_t, grid, of_each, given, clip=clip, guidance=guidance)

        return denoise
