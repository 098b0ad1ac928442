"""How like the real data samples are: a distance beside its floor, and what a judge says, beside what it says of real data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from ..data import Dataset
from ..randomness import generator
from .features import Extractor
from .fid import Moments, fid_of
from .judge import CONFIDENT, Judge
from .measure import Measure, named

__all__ = ["Fidelity"]

MOST_REFERENCE = 10_000
"""Real data in the reference of a distance, at most."""
LEAST = 20
"""Samples that a distance needs at least."""
EXPECTED = 10
"""A class is missed where so many clear samples of it were expected and none came."""


@final
class Fidelity:
    """The real side of every comparison of samples: prepared once, then asked about each model's samples.

    The real data are the split, if it holds twice as many as are sampled, else the training split. ``n`` of them, drawn at
    random, stand in for the samples of a perfect model: their distance from the rest is the *floor*, which no honest model
    is expected to get under.

    Args:
        data: The data set.
        split: The split that is reported.
        n: Samples of each model.
        seed: Of the choice of real data.
        extractor: Features.
    """

    def __init__(self, data: Dataset, split: str, n: int, seed: int, extractor: Extractor) -> None:
        enough = len(data.split(split)) >= 2 * n or len(data.train) <= len(data.split(split))
        self.split = split if enough else "train"
        pool = data.split(self.split)
        self.n = min(n, len(pool) // 2)
        self.extractor = extractor
        order = torch.randperm(len(pool), generator=generator(seed, "fidelity"))
        held, rest = order[: self.n], order[self.n : self.n + MOST_REFERENCE]
        self.measure = Measure(data=data.hash, split=self.split, which=named(rest, len(pool))).of(
            extractor.name, self.n
        )
        self.references = len(rest)
        self.reference = Moments.of(extractor(pool.x[rest])) if self.n else Moments(0)
        self.real = self._raw(pool.x[held]) if self.n else {}

    def __call__(self, samples: Tensor) -> dict[str, Any]:
        """The distance and the judgement of samples, ``(N, *shape)`` with N at least ``n``, as JSON by name."""
        if self.n < LEAST or len(samples) < self.n:
            return {}
        found = self._raw(samples[: self.n])
        fid = found["fid"] | {
            "floor": self.real["fid"]["value"],
            "floor_stderr": self.real["fid"]["stderr"],
            "unit": "squared feature distance",
            "n": self.n,
            "n_reference": self.references,
            "measure": self.measure.to_json(),
            "estimator": "moments of features; standard error by resampling the samples",
        }
        if "judge" not in found:
            return {"fid": fid}
        return {"fid": fid, "judge": self._judged(found["judge"])}

    def _raw(self, x: Tensor) -> dict[str, Any]:
        """Distance and judgement without what is said of real data."""
        features = self.extractor(x)
        found: dict[str, Any] = {}
        if len(features) >= 2:
            fid = fid_of(self.reference, features, generator(0, "fid"))
            found["fid"] = {
                "value": fid.value,
                "stderr": fid.stderr,
                "dimensions": features.shape[1],
                "rank": fid.rank,
                "rank_deficient": fid.rank < features.shape[1],
            }
        if isinstance(self.extractor, Judge) and self.extractor.classes:
            found["judge"] = _clear(self.extractor.classified(features))
        return found

    def _judged(self, found: Mapping[str, Any]) -> dict[str, Any]:
        assert isinstance(self.extractor, Judge)  # noqa: S101 - only then is there a judgement
        counts, real = found["counts"], self.real["judge"]
        names = self.extractor.record["class_names"]
        expected = [count >= EXPECTED for count in real["counts"]]
        missing = [name for name, count, due in zip(names, counts, expected, strict=True) if due and not count]
        return {
            **found,
            "confidence": CONFIDENT,
            "real": real["value"],
            "class_names": names,
            "real_counts": real["counts"],
            "present": sum(1 for count, due in zip(counts, expected, strict=True) if due and count),
            "expected": sum(expected),
            "missing": missing,
            "accuracy": self.extractor.record["accuracy"],
            "temperature": self.extractor.record["temperature"],
            "measure": self.measure.to_json(),
        }


def _clear(probabilities: Tensor) -> dict[str, Any]:
    """The share of data that are clearly some class, with its binomial standard error, and how many are clearly which."""
    confidence, label = probabilities.max(1)
    clear = confidence >= CONFIDENT
    share, n = float(clear.double().mean()), len(clear)
    return {
        "value": share,
        "stderr": math.sqrt(share * (1 - share) / n),
        "n": n,
        "counts": torch.bincount(label[clear], minlength=probabilities.shape[1]).tolist(),
    }
