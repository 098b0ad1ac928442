r"""Each symbol given the n - 1 before it, by counting: the baseline of every model of text.

.. math:: \log p(x_1 \dots x_T, \mathrm{end}) = \sum_{t=1}^{T+1} \log p(x_t \mid x_{t-n+1}, \dots, x_{t-1})

Before the first symbol stand n - 1 start symbols. Strings with an end symbol end with the factor of the end, unless they are as
long as the longest, and so are cut; sequences without one are scored given their length. What was seldom or never seen after
its context gets its probability from shorter contexts (``ngram_tables.py``): every string is possible, and every conditional
sums to one.

The counts of n-grams are sufficient: one pass over the data gathers them, in a table of fixed size that adds up over batches
and processes and gives them back exactly (``ngram_sketch.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self, final

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from .....domain import Discrete, Domain, Sequences
from .....errors import BadInput, require_whole
from .....learning import Batch, ClosedForm
from ..writing import Writer
from .ngram_sketch import Sketch
from .ngram_tables import Smoothing, Tables
from .token_model import TokenModel
from .token_writing import Strings, write_tokens

__all__ = ["NGram"]

LARGEST = 2**24
"""The most distinct n-grams: a gigabyte."""
SMOOTHINGS: tuple[Smoothing, ...] = ("kneser-ney", "witten-bell")


@final
class NGram(TokenModel, ClosedForm):
    """An n-gram model of strings and sequences of symbols.

    Args:
        domain: ``Sequences(Discrete((), levels), …)``.
        given: None; for labels there is one model a class.
        order: n, the symbols of an n-gram.
        smoothing: ``kneser-ney``, modified and interpolated; or ``witten-bell``, which suits small alphabets.
        capacity: The most distinct n-grams that are kept; learning from more is refused.
        particles: Copies of a string in ``complete``, where it is not exact.

    Raises:
        BadInput: if the data are of another kind, or there is no such smoothing.
        RangeError: if a number is out of range.
    """

    natives: ClassVar[tuple[type[Domain], ...]] = (Sequences,)

    keys: Tensor
    counts: Tensor

    def __init__(
        self,
        domain: Domain,
        given: Domain | None = None,
        *,
        order: int = 5,
        smoothing: Smoothing = "kneser-ney",
        capacity: int = 2**20,
        particles: int = 16,
    ) -> None:
        super().__init__(domain, given)
        if (reason := self.refuses(domain)) is not None or not isinstance(domain, Sequences):
            raise BadInput(f"NGram cannot take these data: {reason}.", got=domain)
        _check_options(order, smoothing, capacity)
        self.order, self.smoothing, self.particles = order, smoothing, particles
        self._check_sampling()
        self.end = int(domain.end)
        self.outcomes, self.base = self.end + domain.ends, self.end + 2
        fits = order * math.log2(self.base) < math.log2(capacity)
        kept = self.base**order if fits else capacity
        self.sketch = Sketch(kept, order)
        small = torch.uint8 if self.base <= 2**8 else torch.int16 if self.base <= 2**15 else torch.int32
        self.register_buffer("keys", torch.zeros(kept, order, dtype=small))
        self.register_buffer("counts", torch.zeros(kept, dtype=torch.int64))
        self.chunk = max(1, min(2**20, 2**24 // self.base))
        self._tables: Tables | None = None
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @classmethod
    def refuses(cls, domain: Domain) -> str | None:
        """It takes sequences of single symbols."""
        if isinstance(domain, Sequences) and isinstance(domain.element, Discrete) and domain.element.shape == ():
            return None
        return "it takes sequences of single symbols, Sequences(Discrete((), levels), …)"

    @classmethod
    def tiny(cls, domain: Domain, given: Domain | None = None) -> Self:
        """Pairs of symbols."""
        return cls(domain, given, order=2, capacity=2**12)

    @property
    def size(self) -> int:
        """The number of distinct n-grams."""
        return int((self.counts > 0).sum())

    def initialise(self, subset: Batch, generator: Generator) -> None:
        """Nothing is known before the counts."""

    def statistics(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """The n-grams that end in a symbol which is scored, and how often each occurs, in a table that adds up."""
        windows, scored = self._windows(batch.x)
        grams, counts = torch.unique(windows[scored], dim=0, return_counts=True)
        n = torch.tensor(float(len(batch.x)), dtype=torch.float64, device=batch.x.device)
        return {"n": n, "ngrams": self.sketch.table(grams, counts)}

    def maximise(self, statistics: Mapping[str, Tensor]) -> None:
        """Keep the n-grams and their counts.

        Raises:
            BadInput: if there are more than the capacity.
        """
        found = self.sketch.rows(statistics["ngrams"])
        if found is None or len(found[0]) > len(self.keys):
            raise BadInput(
                f"The data hold more than {len(self.keys)} different {self.order}-grams.",
                got="too many, or too few to tell" if found is None else len(found[0]),
                hint="use a larger capacity, or a smaller order",
            )
        grams, counts = found
        self.keys.zero_()
        self.counts.zero_()
        self.keys[: len(grams)] = grams.to(self.keys.dtype)
        self.counts[: len(grams)] = counts.long()
        _forget(self)

    @property
    def tables(self) -> Tables:
        """What probabilities are looked up in; made from the counts when it is first needed."""
        if self._tables is None or self._tables.device != self.counts.device:
            there = self.counts > 0
            grams, counts = self.keys[there].long(), self.counts[there].double()
            if bool(((grams < 0) | (grams >= self.base)).any()):
                raise BadInput("An n-gram has a symbol that is none.", got=int(grams.max()))
            self._tables = Tables(grams, counts, self.outcomes, self.base, self.smoothing)
        return self._tables

    def _windows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The n symbols that end at each place, ``(N, T, n)``, and which places are scored, ``(N, T)``."""
        padded = F.pad(x, (self.order - 1, 0), value=self.base - 1)
        there = x != self.end
        ends = isinstance(self.domain, Sequences) and self.domain.ends
        scored = torch.cat([torch.ones_like(there[:, :1]), there[:, :-1]], 1) if ends else there
        return padded.unfold(1, self.order, 1), scored

    def _log_prob(self, x: Tensor, given: Tensor | None) -> Tensor:
        windows, scored = self._windows(x)
        log_p = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        log_p[scored] = self.tables.look_up(windows[scored]).log()
        return self._ended(x, log_p.sum(1))

    def _sample(self, n: int, given: Tensor | None, generator: Generator) -> Tensor:
        return self._filled(
            torch.zeros(n, *self.domain.shape, dtype=torch.int64, device=self.device), None, generator, 1
        )

    def _written(
        self, x: Tensor, given: Tensor | None, observed: Tensor, generator: Generator, particles: int
    ) -> Tensor:
        return self._filled(x, self._evidence(x, observed).unsqueeze(2), generator, particles)

    def _filled(self, x: Tensor, forced: Tensor | None, generator: Generator, particles: int) -> Tensor:
        tokens = x.unsqueeze(2).repeat_interleave(particles, 0)
        keep = None if forced is None else forced.repeat_interleave(particles, 0)
        end = self.end if isinstance(self.domain, Sequences) and self.domain.ends else None
        writer = _Counted(self.tables, Strings(tokens, keep, end, self._draws()))
        return write_tokens(writer, tokens, keep, generator, particles=particles, dtype=torch.float64).squeeze(2)

    def _by_order(self, observed: Tensor) -> Tensor:
        return observed


def _forget(model: NGram, *_: object) -> None:
    """Make the tables anew from other counts."""
    model._tables = None


@final
class _Counted(Writer):
    """Writes strings from tables; it keeps nothing, for what is written is all that the next symbol depends on."""

    def __init__(self, tables: Tables, strings: Strings) -> None:
        self.tables, self.strings, self.end = tables, strings, strings.end

    def step(self, t: int, x: Tensor, u: Tensor, held: Tensor | None) -> tuple[Tensor, Tensor | None]:
        length = self.tables.order - 1
        recent = x[:, max(0, t - length) : t, 0]
        contexts = F.pad(recent, (length - recent.shape[1], 0), value=self.tables.base - 1)
        return self.strings.step(t, self.tables.next(contexts).log(), x, u, held)

    def select(self, rows: Tensor) -> None:
        pass


def _check_options(order: int, smoothing: str, capacity: int) -> None:
    for name, value, most in (("order", order, 16), ("capacity", capacity, LARGEST)):
        require_whole(name, value, 1, most)
    if smoothing not in SMOOTHINGS:
        raise BadInput("smoothing is kneser-ney or witten-bell.", got=smoothing)
