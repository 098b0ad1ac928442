"""``evaluate``: measure a model, or a run in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import Dataset, load_data, load_described
from ..errors import BadInput, RunError
from ..model import Model
from ..storage import RECORD, load, read_json
from .bench import Bench
from .record import Evaluation

__all__ = ["evaluate"]


def evaluate(
    model: Model | str | Path,
    data: Dataset | str | Path | None = None,
    *,
    n: int = 2000,
    split: str = "test",
    effort: int = 16,
    seed: int = 0,
    device: str = "auto",
    judge: str | Path | None = None,
    judges: str | Path | None = None,
) -> Evaluation:
    """Measure a model: likelihood, distance and judgement of its samples, speed, size, health.

    Args:
        model: A model, or a run folder; the folder then gets ``scores.json`` and ``report.html``.
        data: A data set or what ``load_data`` takes; None takes those that the run was trained on.
        n: Samples, and at most so many data that are scored.
        split: The split that is scored.
        effort: Draws for each datum where the likelihood is a bound.
        seed: Of every draw.
        device: Where the model of a run folder is put: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        judge: The file of a judge, or ``inception``; None takes the one that comes with the data, or makes one.
        judges: Where judges that are made are kept; None is the user's cache.

    Raises:
        PmodelError: if the folder, the data or a setting are not fit.
    """
    folder, record = None, None
    if isinstance(model, Model) and device != "auto":
        raise BadInput("A model is evaluated where it is.", got=f"device={device}", hint="move it with model.to(...)")
    if not isinstance(model, Model):
        folder = Path(model)
        record, model = _finished(folder), load(folder, device=device)
    if data is None:
        data = _data_of(record)
    dataset = data if isinstance(data, Dataset) else load_data(data)
    bench = Bench(dataset, n=n, split=split, effort=effort, seed=seed, judge=judge, judges=judges)
    evaluation = bench.evaluate(model, record)
    if folder is not None:
        from ..report import write_run_page  # late: the report is above the evaluation

        evaluation.save(folder, bench.protocol)
        bench.keep_judge(folder)
        write_run_page(folder, dataset)
    return evaluation


def _finished(folder: Path) -> dict[str, Any]:
    """The record of a run whose model will not change any more: an evaluation stays in its folder."""
    record = read_json(folder / RECORD)
    if record.get("status") == "training":
        raise RunError(
            f"{folder} is a run that has not finished.",
            hint="finish it with pmodel fit … --resume; pmodel score and sample take its last checkpoint",
        )
    return record


def _data_of(record: Mapping[str, Any] | None) -> Dataset:
    known = (record or {}).get("data")
    if not isinstance(known, dict) or "source" not in known:
        raise BadInput("Say which data to evaluate on.", hint="pass data=, or a run folder that fit has written")
    data = load_described(known)
    if data.hash != known.get("hash"):
        raise RunError(
            f"{data.name} is no longer what the run was trained on: its content has changed.",
            got=f"hash {data.hash[:16]}, the run has {str(known.get('hash'))[:16]}",
            hint="pass data= to evaluate on it all the same",
        )
    return data
