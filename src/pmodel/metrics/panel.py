"""All measurements that apply to samples of one kind of data, against one reference that is prepared once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, final

from torch import Tensor

from ..errors import BadInput, NotSupported, RangeError, ShapeError
from ..randomness import generator
from .classes import class_agreement, class_shares, clear_share, mode_count
from .features import Extractor
from .fid import Moments, fid_of
from .inception_score import inception_score_of
from .judge import CONFIDENT
from .kid import KernelSet, kid_of
from .memorisation import Control, control, memorisation, nearest_training
from .modes import class_modes
from .neighbours import Neighbourhoods, overlaps_of
from .sharpness import sharpness
from .sliced import sliced_wasserstein
from .two_sample import two_sample

__all__ = ["Panel", "Seen"]


@final
@dataclass(frozen=True, eq=False)
class Seen:
    """Data, and what is seen of them.

    Args:
        x: Data, ``(N, *shape)``.
        features: ``(N, D)`` float64.
        probabilities: Of classes, ``(N, K)``; None where the features come from no classifier.
        given: The labels that they were asked for by, ``(N,)``, or None.
    """

    x: Tensor
    features: Tensor
    probabilities: Tensor | None = None
    given: Tensor | None = None

    @classmethod
    def by(cls, extractor: Extractor, x: Tensor, given: Tensor | None = None) -> Seen:
        """What an extractor sees of data."""
        features = extractor(x)
        return cls(x, features, extractor.classified(features) if extractor.classes else None, given)


@final
class Panel:
    """Measurements by the names of ``metrics.catalogue``, each against the same real data.

    Args:
        extractor: What sees.
        reference: Real data.
        near: So many of them are what nearest neighbours are looked for among: as many as there are samples.
        train: Training data that are looked through for copies: pictures, or the features of what is none.
        held: The same of data that were not learned; None where all data are training data.
        labelled: Whether the classes that the extractor tells apart are the labels of the data.
        shares: How often each class occurs, where that is known, ``(K,)``.
        seed: Of resampling, of directions and of halves.
    """

    def __init__(
        self,
        extractor: Extractor,
        reference: Seen,
        *,
        near: int,
        train: Any,
        held: Tensor | None,
        labelled: bool,
        shares: Tensor | None = None,
        seed: int,
    ) -> None:
        self.extractor, self.domain, self.reference, self.seed = extractor, extractor.domain, reference, seed
        self.moments, self.kernels = Moments.of(reference.features), KernelSet(reference.features)
        self.train, self.labelled, self.shares = train, labelled, shares
        self.usual = None if held is None else _usual(train, held, seed)
        self.real = Neighbourhoods(extractor.placed(reference.features[:near]), generator(seed, "neighbourhoods"))

    def __call__(self, seen: Seen) -> dict[str, dict[str, Any]]:
        """Each measurement that applies: value, standard error, flags and its own details, as JSON.

        One that cannot be had of these samples has the value None, and a flag that says why.
        """
        return {name: _json(measurement) for name, measurement in self._that_apply(seen)}

    def _that_apply(self, seen: Seen) -> Iterator[tuple[str, Callable[[], Any]]]:
        features, real = seen.features, self.reference.features
        yield "fid", lambda: fid_of(self.moments, features, generator(self.seed, "fid"))
        yield "kid", lambda: kid_of(self.kernels, features)
        if not self.domain.image:
            yield "sliced_wasserstein", lambda: sliced_wasserstein(features, real, seed=self.seed)
        placed = self.extractor.placed(features)
        overlaps = cache(lambda: overlaps_of(self.real, Neighbourhoods(placed, generator(self.seed, "samples"))))
        yield "precision", lambda: overlaps().precision
        yield "recall", lambda: overlaps().recall
        yield "density", lambda: overlaps().density
        yield "coverage", lambda: overlaps().coverage
        yield "two_sample", lambda: two_sample(features, real, seed=self.seed)
        if self.usual is not None:
            usual = self.usual
            yield "memorisation", lambda: self._copied(seen, usual)
        if self.domain.image:
            yield "sharpness", lambda: sharpness(seen.x, self.reference.x)
        p, q = seen.probabilities, self.reference.probabilities
        if p is None or q is None:
            return
        yield "inception_score", lambda: inception_score_of(p)
        if not self.extractor.class_names:
            return
        yield "judge", lambda: self._clear(p, q)
        yield "class_shares", lambda: class_shares(p, q)
        if self.shares is not None:
            shares = self.shares
            yield "mode_shares", lambda: class_modes(p, shares)
        if seen.given is not None and self.labelled:
            asked = seen.given
            yield "class_agreement", lambda: class_agreement(p, asked)

    def nearest(self, seen: Seen) -> Tensor:
        """The positions of the training data that are nearest, ``(N,)``."""
        return nearest_training(self._compared(seen), self.train, 1).indices[:, 0]

    def _compared(self, seen: Seen) -> Tensor:
        """What is held against training data: to be a copy is a fact about pictures, not about what a judge sees of them."""
        return seen.x if self.domain.image else seen.features

    def _copied(self, seen: Seen, usual: Control) -> dict[str, Any]:
        """Beside its own control: what real data get that are not in the reference, but were not learned either."""
        found = memorisation(self._compared(seen), self.train, usual)
        return {
            **_fields(found),
            "floor": found.control,
            "floor_stderr": found.control_stderr,
            "held_out": None,
            "n_reference": len(self.train),
        }

    def _clear(self, p: Tensor, q: Tensor) -> dict[str, Any]:
        """How many samples are clearly some class, and which classes are missing, by their names."""
        names, modes = self.extractor.class_names, mode_count(p, q)
        return {
            **_fields(clear_share(p)),
            "confidence": CONFIDENT,
            "class_names": list(names),
            "present": modes.value,
            "expected": modes.expected,
            "missing": [names[k] for k in modes.missing],
            "flags": list(modes.flags),
        }


def _usual(train: Any, held: Tensor, seed: int) -> Control | None:
    """What is usual among data that were not learned; None where they are copies as well: data of few states repeat."""
    try:
        return control(train, held, seed=seed)
    except BadInput:
        return None


def _json(measurement: Callable[[], Any]) -> dict[str, Any]:
    try:
        found = measurement()
    except (BadInput, RangeError, ShapeError, NotSupported) as error:
        return {"value": None, "stderr": None, "flags": [error.problem.removesuffix(".")]}
    return found if isinstance(found, dict) else _fields(found)


def _fields(result: Any) -> dict[str, Any]:
    """The numbers and words of a result; tensors are left out."""
    values = {f.name: getattr(result, f.name) for f in fields(result)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if not isinstance(v, Tensor)}
