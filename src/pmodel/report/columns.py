"""The columns of the results: which there are, what stands in a cell, and what real data get in the same column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from ..metrics.catalogue import METRICS, Row
from .numbers import count, duration, likelihood, metric, number, place, rate, share, size

__all__ = ["GROUPS", "WAYS", "Cell", "Column", "bits_column", "columns", "leading", "overview"]

Model = Mapping[str, Any]

GROUPS: dict[str, tuple[str, str]] = {
    "likelihood": ("likelihood", "Likelihood"),
    "distance": ("distance", "Distance from the data"),
    "variety": ("variety", "Precision and variety"),
    "recognised": ("by the judge", "What the judge recognises"),
    "cost": ("cost", "Cost"),
}
"""Of columns, in order: what stands above them, and above a table of their own."""
VARIETY = frozenset(
    {"precision", "recall", "density", "coverage", "memorisation", "sharpness", "high_quality", "mode_shares"}
)
RECOGNISED = frozenset({"judge", "inception_score", "class_shares", "class_agreement"})
WAYS = {
    "smaller": ("↓", "smaller is better"),
    "larger": ("↑", "larger is better"),
    "real": ("≈ real", "the nearer to real data the better"),
}
"""Which way is better: a sign and words."""
BITS = {"bits_per_dim": "bits per dimension", "bits_per_character": "bits per character"}
"""The likelihood in other units."""
BESIDE = ("precision", "recall", "judge", "coverage", "two_sample")
"""Which measurements of samples stand in the first table beside a distance: the first two that there are."""
COSTS: tuple[tuple[str, str, str, Callable[[float], str]], ...] = (
    ("training_seconds", "training", "smaller", duration),
    ("training_images", "data seen", "", count),
    ("samples_per_second", "samples a second", "larger", rate),
    ("network_calls", "network calls", "smaller", count),
    ("sequential_calls", "calls in sequence", "smaller", count),
    ("sample_memory_bytes", "memory to sample", "smaller", size),
)
NAMED = 4
"""Missing classes that a cell names, at most; the notes name all."""
SHORT_COSTS = frozenset({"training_seconds", "samples_per_second", "parameters"})


@final
@dataclass(frozen=True)
class Cell:
    """What stands in a cell.

    Args:
        text: The number, or words.
        value: What the column is sorted by; None sorts last.
        subs: Smaller lines under it.
        flags: What makes the number less than it seems.
    """

    text: str
    value: float | None = None
    subs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        key: Its name in ``report.json``.
        title: At its head.
        group: One of ``GROUPS``.
        better: Which way is better, one of ``WAYS``, or empty.
        cell: What stands in a model's row, or None.
        number: The value with its error as ``report.json`` has them, or None.
        unit: At its head, under the title.
        references: What real data get: ``truth``, ``floor``, ``training``, ``held_out``.
    """

    key: str
    title: str
    group: str
    better: str
    cell: Callable[[Model], Cell | None]
    number: Callable[[Model], Mapping[str, Any] | None]
    unit: str = ""
    references: Mapping[str, Cell] = field(default_factory=dict)


def columns(models: Sequence[Model], truth: Mapping[str, Any] | None = None) -> list[Column]:
    """A column for every number that some model has, in the order of the groups."""
    found = [_likelihoods(models, truth)]
    found += [_bits(key, title) for key, title in BITS.items() if any(m["metrics"].get(key) for m in models)]
    metrics = [_metric(row, models) for row in METRICS if any(m["metrics"].get(row.name) for m in models)]
    found += sorted(metrics, key=lambda column: list(GROUPS).index(column.group))
    found += [_cost(*cost) for cost in COSTS if any(_speed(m, cost[0]) is not None for m in models)]
    if any(m["parameters"] is not None for m in models):
        found.append(_parameters())
    return found


def overview(found: Sequence[Column]) -> list[Column]:
    """The columns of the first table: likelihood, a distance, two other measurements of samples, and cost."""
    keys = {column.key for column in found}
    distance = leading(found)
    beside = [key for key in BESIDE if key in keys][:2]
    bits = bits_column(found)
    short = {"likelihood", *([bits.key] if bits else []), *([distance.key] if distance else []), *beside, *SHORT_COSTS}
    return [column for column in found if column.key in short]


def bits_column(found: Sequence[Column]) -> Column | None:
    """The likelihood in the other unit that is looked at first: per character where the data are texts, else per dimension."""
    return next((column for key in reversed(BITS) for column in found if column.key == key), None)


def leading(found: Sequence[Column]) -> Column | None:
    """The distance that charts show and findings name: the first of the catalogue that there is.

    On plain columns it is the sliced Wasserstein distance, for there a distance between Gaussians sees means and covariances
    only.
    """
    distances = {column.key: column for column in found if column.group == "distance"}
    judged = any(column.group == "recognised" for column in found)
    return distances.get("" if judged else "sliced_wasserstein") or next(iter(distances.values()), None)


def _likelihoods(models: Sequence[Model], truth: Mapping[str, Any] | None) -> Column:
    ranked = sum(1 for m in models if m["place"].get("likelihood"))

    def cell(model: Model) -> Cell:
        written = model["likelihood"]
        if written is None:
            refused = any(sentence.startswith("no likelihood") for sentence in model["health"])
            return Cell("none", None, () if refused else ("it has no density",))
        words = {"exact": "exact", "lower_bound": "lower bound", "estimate": "estimate"}[written["kind"]]
        order = "never ranked" if written["kind"] == "estimate" else place(model["place"].get("likelihood"), ranked)
        return Cell(likelihood(written), written["value"], (words, order))

    references = {} if truth is None else {"truth": Cell(likelihood(truth), truth["value"])}
    return Column(
        "likelihood", "log-likelihood", "likelihood", "larger", cell, lambda m: m["likelihood"], "nats", references
    )


def _bits(key: str, title: str) -> Column:
    def cell(model: Model) -> Cell | None:
        written = model["metrics"].get(key)
        return None if written is None or written["impossible"] else Cell(likelihood(written), written["value"])

    return Column(key, title, "likelihood", "smaller", cell, lambda m: m["metrics"].get(key))


def _metric(row: Row, models: Sequence[Model]) -> Column:
    ranked = sum(1 for m in models if m["place"].get(row.name))

    def cell(model: Model) -> Cell | None:
        written = model["metrics"].get(row.name)
        if written is None:
            return None
        subs = (place(model["place"].get(row.name), ranked), *_details(row.name, written))
        return Cell(metric(written, shares=row.share), written["value"], subs, tuple(written.get("flags", ())))

    first = next(m["metrics"][row.name] for m in models if m["metrics"].get(row.name))
    group = "variety" if row.name in VARIETY else "recognised" if row.name in RECOGNISED else "distance"
    unit = "" if row.share else str(first.get("unit", ""))
    references = _references(row, first)
    return Column(row.name, row.title, group, row.better, cell, lambda m: m["metrics"].get(row.name), unit, references)


def _references(row: Row, written: Mapping[str, Any]) -> dict[str, Cell]:
    """What real data get in a column, the same for all models of a bench: the floor, and data of the other side of learning."""
    found = {}
    stderr, other = (
        written.get("floor_stderr"),
        "held_out" if written["measure"].get("split") == "train" else "training",
    )
    floor, control = written.get("floor"), written.get("held_out")
    if floor is not None:
        found["floor"] = Cell(metric({"value": floor, "stderr": stderr}, shares=row.share), floor)
    if control is not None:
        found[other] = Cell(share(control) if row.share else number(control, stderr), control)
    return found


def _details(name: str, written: Mapping[str, Any]) -> tuple[str, ...]:
    """What else a cell says: which classes have no clear sample, and how many modes have any."""
    if name == "mode_shares" and "found" in written:
        found = f"{count(written['found'])} of {count(written['modes'])} modes"
        few = written.get("expected", written["modes"]) < written["modes"] - 1
        return (f"{found}; as many data: {count(written['expected'])}" if few else found,)
    if name != "judge" or written.get("expected", 0) < 2:
        return ()
    missing = written.get("missing", ())
    if 0 < len(missing) <= NAMED:
        return (f"missing: {', '.join(missing)}",)
    return (f"{count(written['present'])} of {count(written['expected'])} classes",)


def _speed(model: Model, key: str) -> float | None:
    value = model["speed"].get(key)
    return value if isinstance(value, int | float) else None


def _cost(key: str, title: str, better: str, words: Callable[[float], str]) -> Column:
    def cell(model: Model) -> Cell | None:
        value = _speed(model, key)
        return None if value is None else Cell(words(value), value)

    return Column(key, title, "cost", better, cell, lambda m: _bare(_speed(m, key)))


def _parameters() -> Column:
    def cell(model: Model) -> Cell | None:
        value = model["parameters"]
        return None if value is None else Cell(count(value), value)

    return Column("parameters", "parameters", "cost", "smaller", cell, lambda m: _bare(m["parameters"]))


def _bare(value: float | None) -> dict[str, Any] | None:
    return None if value is None else {"value": value, "stderr": None}
