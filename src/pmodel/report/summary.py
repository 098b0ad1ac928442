"""``report.json``: the numbers of a comparison, and what follows from them.

Its fields are in ``schema.json`` beside this file, and in words in ``docs/report.md``. A likelihood, or any other number of a
model with several seeds, is the mean over them; ``seeds`` holds each.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from .. import __version__
from ..data import Dataset
from ..metrics import Candidate, costs
from ..metrics.catalogue import METRICS
from .commands import comparing
from .ranking import ranked

if TYPE_CHECKING:
    from ..comparison import Outcome
    from ..evaluation import Bench

__all__ = ["SCHEMA", "data_json", "origin", "summary"]

SCHEMA = "pmodel.report/1"


def summary(data: Dataset, bench: Bench, shared: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything that a comparison found.

    Args:
        data: The data set.
        bench: What all models were measured on.
        shared: The settings that all runs share.
        outcomes: What became of each run; those of one model follow one another.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.job.entry.label, []).append(outcome)
    candidates = [c for label, group in groups.items() if (c := _candidate(label, group, bench)) is not None]
    models = [_model(label, group, candidates, bench) for label, group in groups.items()]
    order = ranked(models, candidates)
    for model in models:
        model["place"] = {column: found.get(model["label"]) for column, (_, found) in order.items()}
    seeds = sorted({outcome.job.seed for outcome in outcomes})
    judge = bench.extractor.record
    return {
        "schema": SCHEMA,
        **origin(),
        "data": data_json(data) | {"truth": bench.truth()},
        "protocol": {**bench.protocol, **{k: v for k, v in shared.items() if k != "data"}, "seeds": seeds},
        "judge": judge,
        "models": models,
        "order": {column: [verdict.to_json() for verdict in verdicts] for column, (verdicts, _) in order.items()},
        "commands": [comparing(data, shared, list(groups), seeds, bench.n, judge)],
    }


def origin() -> dict[str, Any]:
    """When, with what and on what a report was written."""
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"pmodel": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": {"system": platform.system(), "processor": platform.machine(), "threads": torch.get_num_threads()},
    }


def data_json(data: Dataset) -> dict[str, Any]:
    """The facts of a data set."""
    return {
        "name": data.name,
        "source": data.source,
        "hash": data.hash,
        "note": data.note,
        "domain": data.domain.to_json(),
        "sizes": {name: len(split) for name, split in data.splits.items()},
        "labels": list(data.label_names),
    }


def _candidate(label: str, group: Sequence[Outcome], bench: Bench) -> Candidate | None:
    scored = tuple(o.evaluation.scored for o in group if o.evaluation is not None and o.evaluation.scored is not None)
    return Candidate(label, bench.measure, scored) if scored else None


def _model(label: str, group: Sequence[Outcome], candidates: Sequence[Candidate], bench: Bench) -> dict[str, Any]:
    """One row of the comparison."""
    whole = [o for o in group if o.evaluation is not None]
    found = [o.evaluation.to_json() for o in whole if o.evaluation is not None]
    candidate = next((c for c in candidates if c.name == label), None)
    likelihood = None if candidate is None else candidate.to_json()
    metrics: dict[str, Any] = {}
    if likelihood is not None and candidate is not None:
        metrics |= costs(likelihood, candidate.values, bench.x, bench.data.domain, candidate.common_stderr)
    for row in METRICS:
        values = [e["metrics"][row.name] for e in found if row.name in e["metrics"]]
        if values:
            metrics[row.name] = _over_seeds(values)
    names = dict.fromkeys(sentence for e in found for sentence in e["health"])
    return {
        "name": group[0].job.entry.name,
        "label": label,
        "options": group[0].job.entry.spelling,
        "seeds": [_seed(o) for o in group],
        "likelihood": likelihood,
        "metrics": metrics,
        "speed": _means([e["speed"] for e in found]),
        "parameters": found[0]["parameters"] if found else None,
        "health": list(names),
        "run": _run(whole[0]) if whole else None,
        "error": next((o.error for o in group if o.error), None),
        "place": {},
    }


def _run(outcome: Outcome) -> str:
    """The run folder, seen from the report's."""
    return f"runs/{outcome.job.folder.name}"


def _seed(outcome: Outcome) -> dict[str, Any]:
    evaluation = {} if outcome.evaluation is None else outcome.evaluation.to_json()
    run = None if outcome.evaluation is None else _run(outcome)
    return {"seed": outcome.job.seed, "run": run, "error": outcome.error or None, **evaluation}


def _over_seeds(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A metric's mean over the seeds; its error covers the samples and the seeds. The rest is the first seed's."""
    flags = list(dict.fromkeys(flag for v in values for flag in v.get("flags", ())))
    rest = {**values[0], "flags": flags, "seeds": len(values)}
    if any(v["value"] is None for v in values):
        return {**rest, "value": None, "stderr": None, "sample_stderr": None, "seed_stderr": 0.0}
    numbers = torch.tensor([v["value"] for v in values], dtype=torch.float64)
    k = len(values)
    own = [v["stderr"] for v in values if v.get("stderr") is not None]
    inner = math.sqrt(sum(e * e for e in own)) / k if own else None
    between = float(numbers.std()) / math.sqrt(k) if k > 1 else 0.0
    stderr = None if inner is None and k < 2 else math.hypot(inner or 0.0, between)
    return {**rest, "value": float(numbers.mean()), "stderr": stderr, "sample_stderr": inner, "seed_stderr": between}


def _means(speeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the seeds of every number that all of them have."""
    first = speeds[0] if speeds else {}
    shared = [name for name in first if all(isinstance(s.get(name), int | float) for s in speeds)]
    return {name: sum(s[name] for s in speeds) / len(speeds) if len(speeds) > 1 else first[name] for name in shared}
