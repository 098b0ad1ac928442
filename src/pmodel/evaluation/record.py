"""What was measured of one model, and how it is kept in its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor

from ..errors import RunError
from ..likelihood import Likelihood
from ..storage import read_json, write_json, write_tensors

__all__ = ["Evaluation", "read_evaluation"]

SCORES = "scores.json"
KEPT = "evaluation.safetensors"


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of one model.

    Args:
        likelihood: As ``likelihood_json`` gives it, or None.
        metrics: ``bits_per_dim``, ``fid``, ``judge``: those that apply, each self-describing.
        speed: Seconds, samples a second, network calls.
        parameters: The number of learned scalars.
        health: What a reader should know before trusting the numbers, in sentences.
        scored: The likelihoods datum by datum, or None; not part of the JSON.
        samples: Some samples, or None; not part of the JSON.
        neighbours: The training data nearest to the first of them, or None; not part of the JSON.
    """

    likelihood: dict[str, Any] | None
    metrics: dict[str, Any]
    speed: dict[str, Any]
    parameters: int
    health: list[str]
    scored: Likelihood | None = field(default=None, repr=False)
    samples: Tensor | None = field(default=None, repr=False)
    neighbours: Tensor | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """All numbers."""
        return {
            "likelihood": self.likelihood,
            "metrics": self.metrics,
            "speed": self.speed,
            "parameters": self.parameters,
            "health": self.health,
        }

    def save(self, folder: Path, protocol: Mapping[str, Any]) -> None:
        """Write ``scores.json`` and, for paired differences and pictures, the values and samples beside it."""
        tensors: dict[str, Tensor] = {}
        if self.scored is not None:
            tensors["values"] = self.scored.values
        if self.samples is not None:
            tensors["samples"] = self.samples
        if self.neighbours is not None:
            tensors["neighbours"] = self.neighbours
        write_tensors(folder / KEPT, tensors)
        write_json(folder / SCORES, {"protocol": dict(protocol), **self.to_json()})


def read_evaluation(folder: str | Path) -> tuple[Evaluation, dict[str, Any]]:
    """An evaluation that was saved in a run folder, and its protocol.

    Raises:
        RunError: if there is none, or it is damaged.
    """
    folder = Path(folder)
    record = read_json(folder / SCORES)
    try:
        kept = from_bytes((folder / KEPT).read_bytes())
        likelihood, values = record["likelihood"], kept.get("values")
        scored = None
        if values is not None:
            scored = Likelihood(values, likelihood["kind"], likelihood["estimator"])
        evaluation = Evaluation(
            likelihood,
            record["metrics"],
            record["speed"],
            record["parameters"],
            record["health"],
            scored,
            kept.get("samples"),
            kept.get("neighbours"),
        )
    except (KeyError, TypeError, OSError, SafetensorError) as error:
        raise RunError(f"{folder} holds no whole evaluation.", got=str(error), hint="evaluate the run again") from error
    return evaluation, dict(record["protocol"])
