r"""An autoregressive transformer for strings, sequences, vectors and pictures of discrete values.

.. math:: \log p(x \mid y) = \sum_{t=1}^{T} \sum_{j=1}^{P} \log p(x_{tj} \mid x_{t,<j},\, x_{<t},\, y)

over the tokens of a datum and the entries of a token. Of a sequence every symbol is a token; a picture is cut into patches of
p × p pixels, so that attention meets :math:`p^2` times fewer tokens (``transformer_tokens.py``). One causal stack reads the
tokens (``transformer_stack.py``), and a small masked network factorises what is inside one (``transformer_head.py``): so the
likelihood is exact whatever p is. All factors of a known datum are computed in one pass. Drawing keeps the keys and values of
what it has read, and costs about one pass too (``transformer_writing.py``).

A label y is told by the token that stands before all others, of which each label has its own.

Of strings with an end symbol, the end is one more symbol, scored where it first stands; a string of the longest length is cut,
and has none. Sequences without one are scored given their length, which says nothing but where they stop.

Source:
    Attention is all you need (Vaswani et al. 2017), https://arxiv.org/abs/1706.03762
    Image GPT (Chen et al. 2020), https://proceedings.mlr.press/v119/chen20s.html: pictures as sequences; here of patches
    MEGABYTE (Yu et al. 2023), https://arxiv.org/abs/2305.07185: a stack over patches, and a small model inside a patch
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Generator, Tensor

from .....domain import Discrete, Domain, Sequences
from .....errors import BadInput, RangeError, require_whole
from .....learning import MaximumLikelihood, Recipe
from .token_model import TokenModel
from .token_writing import Strings, write_tokens
from .transformer_head import Head
from .transformer_stack import Stack
from .transformer_tokens import Embedding, Patches
from .transformer_writing import CachedWriter

__all__ = ["Transformer"]

HELD = 2**24
"""Logits that a public verb holds at a time, about."""


@final
class Transformer(TokenModel, MaximumLikelihood):
    """A decoder-only transformer.

    ``sample`` and ``complete`` take ``temperature``, ``top_k`` and ``top_p`` for one call (``token_model.py``).

    ``complete`` is exact where what is observed comes before what is missing, such as the beginning of a string, and where the
    missing entries have at most 256 joint states; else it is a particle filter, which tends to p(missing | observed) as
    ``particles`` grows. With other settings of the draws joint states are not listed.

    Args:
        domain: Discrete vectors or pictures, or sequences of single symbols, ``Sequences(Discrete((), levels), …)``.
        given: A class label, which is told by the first token; or None.
        layers: Blocks of the stack.
        width: Of its residual stream, a multiple of ``2 * heads``.
        heads: Of its attention.
        patch: Side of a picture's patches, and entries in a token of a vector; of a sequence every symbol is a token.
        hidden: Units for each entry of a token.
        dropout: Probability with which an entry of what a block adds is set to zero in training.
        particles: Copies of a datum in ``complete``, where it is not exact.

    Raises:
        BadInput: if the data are of another kind, or the width does not suit the heads.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Discrete, Sequences)
    conditional: ClassVar[bool] = True
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"layers": 1, "width": 16, "heads": 2, "patch": 2, "hidden": 16},
        "small": {"layers": 3, "width": 64, "heads": 2, "hidden": 64},
    }

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        layers: int = 4,
        width: int = 128,
        heads: int = 4,
        patch: int = 4,
        hidden: int = 128,
        dropout: float = 0.0,
        particles: int = 16,
    ) -> None:
        super().__init__(domain, given)
        if (reason := self.refuses(domain)) is not None:
            raise BadInput(f"Transformer cannot take these data: {reason}.", got=domain)
        _check_options(layers, width, heads, patch, hidden, dropout)
        self.particles = particles
        self._check_sampling()
        self.levels = _levels(domain)
        self.patches = _patches(domain, patch)
        labels, placed = len(self.given_frequencies), not isinstance(domain, Sequences)
        self.embedding = Embedding(self.patches, self.levels, width, labels, placed=placed)
        self.stack = Stack(layers, width, heads, dropout, rotary=not placed)
        self.head = Head(width, self.patches.entries, self.levels, hidden)
        self.chunk = min(2**17, HELD // self.levels)

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """It takes discrete entries, or sequences of single symbols, of at least two values."""
        one = isinstance(domain, Sequences) and isinstance(domain.element, Discrete) and domain.element.shape == ()
        if (isinstance(domain, Discrete) or one) and _levels(domain) >= 2:
            return None
        return "it takes discrete vectors, pictures and sequences of single symbols, of at least two levels"

    def recipe(self) -> Recipe:
        """Muon on small batches: in a few minutes, the number of steps is what is short."""
        batch = 8 if isinstance(self.domain, Sequences) else 16
        return Recipe(batch=batch, optimiser="muon", rate=4e-3, betas=(0.9, 0.99))

    def prepare(self, subset: Tensor, given: Tensor | None, generator: Generator) -> None:
        """Start near the best distribution that is the same for every token."""
        self.head.prepare(self._tokens(subset), self._scored_entries(subset))

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        tokens = self._tokens(x)
        each = self.head.log_prob(self.stack(self.embedding(tokens, given)), tokens)
        return self._ended(x, torch.where(self._scored_entries(x), each, 0).flatten(1).sum(1))

    def _tokens(self, x: Tensor) -> Tensor:
        """Data as tokens ``(N, T, P)``; what only fills up a sequence is some symbol."""
        tokens = self.patches.split(x)
        return tokens.clamp_max(self.levels - 1) if isinstance(self.domain, Sequences) else tokens

    def _scored_entries(self, x: Tensor) -> Tensor:
        """Which entries of the tokens have a factor, ``(N or 1, T, P)``: those that are there, and a string's end."""
        if not isinstance(self.domain, Sequences):
            return self.patches.real(x.device).unsqueeze(0)
        there = self.domain.present(x).unsqueeze(2)
        return torch.cat([torch.ones_like(there[:, :1]), there[:, :-1]], 1) if self.domain.ends else there

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        blank = torch.zeros(n, *self.domain.shape, dtype=torch.int64, device=self.device)
        return self._filled(blank, given, None, generator, 1)

    def _written(
        self, x: Tensor, given: Tensor | None, observed: Tensor, generator: Generator, particles: int
    ) -> Tensor:
        forced = self.patches.split(self._evidence(x, observed))
        return self._filled(x, given, forced, generator, particles)

    def _filled(
        self, x: Tensor, given: Tensor | None, forced: Tensor | None, generator: Generator, particles: int
    ) -> Tensor:
        tokens = self._tokens(x).repeat_interleave(particles, 0)
        labels = None if given is None else given.repeat_interleave(particles)
        keep = None if forced is None else forced.repeat_interleave(particles, 0)
        strings = None
        if isinstance(self.domain, Sequences):
            strings = Strings(tokens, keep, self.levels - 1 if self.domain.ends else None, self._draws())
        parts = (self.embedding, self.stack, self.head)
        writer = CachedWriter(parts, len(tokens), labels, strings, self._draws())
        dtype = self.stack.norm.weight.dtype
        tokens = write_tokens(writer, tokens, keep, generator, particles=particles, dtype=dtype)
        return self.patches.join(tokens)

    def _by_order(self, observed: Tensor) -> Tensor:
        there = self.patches.real(observed.device)
        return self.patches.split(observed)[:, there]


def _levels(domain: Domain) -> int:
    """The values of an entry: of strings with an end symbol one more."""
    if isinstance(domain, Sequences):
        return _levels(domain.element) + domain.ends
    return domain.levels if isinstance(domain, Discrete) else 0


def _patches(domain: Domain, patch: int) -> Patches:
    """How a datum is cut; a patch is no larger than the datum."""
    if isinstance(domain, Sequences):
        return Patches(domain.shape, 1, image=False)
    largest = max(domain.shape[1:]) if domain.image else domain.entries
    return Patches(domain.shape, min(patch, largest), image=domain.image)


def _check_options(layers: int, width: int, heads: int, patch: int, hidden: int, dropout: float) -> None:
    whole = {"layers": layers, "width": width, "heads": heads, "patch": patch, "hidden": hidden}
    for name, value in whole.items():
        require_whole(name, value, 1)
    if width % (2 * heads):
        raise BadInput("width must be a multiple of twice the heads.", got=f"width {width}, heads {heads}")
    if not 0 <= dropout < 1:
        raise RangeError("dropout must be at least 0 and below 1.", got=dropout)
