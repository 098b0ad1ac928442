"""All models of a comparison, one after another or several at once, on one bench."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ..data import Dataset, load_data
from ..errors import NotSupported, require_whole
from ..evaluation import Bench
from ..storage import write_json
from .entry import entries
from .job import Job, Progress, Tell, job_of, require_same, telling
from .running import Outcome, outcome
from .together import train_together

__all__ = ["Comparison", "compare"]


@final
@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Args:
        report: What ``report.json`` holds.
        folder: Where it is, with ``report.html`` and the runs.
    """

    report: dict[str, Any]
    folder: Path

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.folder / "report.html"


def compare(
    models: Sequence[str | tuple[str, Mapping[str, Any]]],
    data: Dataset | str | Path,
    *,
    out: str | Path,
    budget: float | None = None,
    steps: int | None = None,
    size: str = "base",
    seeds: int = 1,
    seed: int = 0,
    jobs: int = 1,
    n: int = 2000,
    split: str = "test",
    effort: int = 16,
    precision: str = "auto",
    device: str = "auto",
    judge: str | Path | None = None,
    judges: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Comparison:
    """Fit models to the same data, measure them on the same bench, and write the report.

    Args:
        models: Names of the catalogue, each with its own options if any: ``"vae:latent=2,train.batch=64"``, or a pair of
            name and options.
        data: A data set, or what ``load_data`` takes.
        out: The folder of the comparison. An interrupted one goes on when it is asked for again, and so does the run that
            was being trained, to the same bits.
        budget: Seconds of training for each run.
        steps: Steps of training for each run, instead.
        size: ``tiny``, ``small`` or ``base``.
        seeds: Runs of each model, which differ in the seed of their training.
        seed: Of the first run.
        jobs: Runs that are trained at the same time, in processes of their own: a script that asks for several must be
            importable (``if __name__ == "__main__":``).
        n: Samples of each model, and at most so many data that are scored.
        split: The split that is scored.
        effort: Draws for each datum where a likelihood is a bound.
        precision: Of training.
        device: Of training and of sampling.
        judge: The file of a judge, or ``inception``; None takes the one that comes with the data, or makes one.
        judges: Where judges that are made are kept; None is the user's cache.
        on_progress: Called as the comparison goes on.

    Raises:
        UnknownName: if a model or an option does not exist.
        BadInput: if a setting is out of range, or two models are the same.
        RunError: if the folder holds runs of another comparison.
        Stopped: if a signal ended it; everything is saved.
        NotSupported: if it is one of several processes.
    """
    _require_possible(seeds, jobs)
    tell = on_progress or (lambda progress: None)
    dataset = data if isinstance(data, Dataset) else load_data(data)
    out = Path(out)
    shared = {
        "data": dataset.hash,
        "budget": budget,
        "steps": steps,
        "size": size,
        "precision": precision,
        "device": device,
    }
    runs = [job_of(entry, seed + k, out, shared) for entry in entries(models) for k in range(seeds)]
    for job in runs:
        require_same(job)

    bench = Bench(
        dataset, n=n, split=split, effort=effort, judge=judge, judges=judges, progress=_judging(tell, dataset)
    )
    tells = [telling(tell, job, number, len(runs)) for number, job in enumerate(runs, 1)]
    failed = _begun(runs, dataset, jobs, tells)
    outcomes = []
    for job, told in zip(runs, tells, strict=True):
        outcomes.append(outcome(job, dataset, bench, told, failed.get(job.folder, "")))
        if len(outcomes) < len(runs):
            _write(out, dataset, bench, shared, outcomes)  # an interrupted comparison has a report too
    tell(Progress("report", dataset.name))
    return Comparison(_write(out, dataset, bench, shared, outcomes), out)


def _begun(runs: Sequence[Job], data: Dataset, jobs: int, tells: Sequence[Tell]) -> dict[Path, str]:
    """Say which runs are there, and train the others if that is done for several at once; why any of them failed."""
    for job, told in zip(runs, tells, strict=True):
        if job.done:
            told("reused")
    return train_together(runs, data, jobs, tells) if jobs > 1 else {}


def _judging(tell: Callable[[Progress], None], data: Dataset) -> Callable[[float], None]:
    return lambda share: tell(Progress("judge", data.name, share=share))


def _require_possible(seeds: int, jobs: int) -> None:
    for name, number in (("seeds", seeds), ("jobs", jobs)):
        require_whole(name, number, 1, 1000)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise NotSupported(
            "A comparison runs in one process.", hint="fit each model under torchrun, and evaluate the runs"
        )


def _write(
    out: Path, data: Dataset, bench: Bench, shared: Mapping[str, Any], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    from ..report import summary, write_comparison_page  # late: the report is above

    report = summary(data, bench, shared, outcomes)
    write_json(out / "report.json", report)
    bench.keep_judge(out)
    write_comparison_page(out, data, report)
    return report
