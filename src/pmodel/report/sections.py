"""The sections of a page, each a list of elements that is empty where there is nothing to show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Dataset
from .citations import bibtex, keys
from .columns import GROUPS, Column, columns, leading, overview
from .curves import chart, curves, validation
from .markup import Markup, element, joined
from .samples import captioned, evolution, gallery, neighbours
from .scatter import charts
from .sentences import caption, glossary, notes, protocol_terms
from .tables import order, results

__all__ = [
    "citations",
    "costs",
    "each_seed",
    "evolutions",
    "learning",
    "measurements",
    "nearest",
    "orders",
    "protocol",
    "reading",
    "results_section",
    "samples",
    "warnings",
]

Model = Mapping[str, Any]
Report = Mapping[str, Any]


def results_section(report: Report, first: Sequence[Column]) -> list[Markup]:
    """The first table."""
    return [element("h2", "Results"), results(report["models"], first, caption(report, first))]


def measurements(report: Report, found: Sequence[Column], first: Sequence[Column]) -> list[Markup]:
    """Every number, a table for each group, where the first table could not show all."""
    if len(found) == len(first):
        return []
    body = []
    whole = [model for model in report["models"] if model["run"]]
    for group, (_, name) in GROUPS.items():
        part = [column for column in found if column.group == group]
        if any(column not in first for column in part):
            body.append(
                element(
                    "details", element("summary", element("h3", name)), results(whole, part), open="", class_="part"
                )
            )
    return [element("h2", "All measurements"), *body]


def each_seed(report: Report) -> list[Markup]:
    """The first table of every single run, folded away, where models have several."""
    runs = [
        {
            **model,
            **seed,
            "label": f"{model['label']}, seed {seed['seed']}",
            "options": {**model["options"], "seed": seed["seed"]},
        }
        for model in report["models"]
        for seed in model["seeds"]
        if len(model["seeds"]) > 1 and seed["run"]
    ]
    if not runs:
        return []
    single = [{**run, "seeds": [run], "place": {}} for run in runs]
    return [_folded("Every seed by itself", results(single, overview(columns(single, report["data"]["truth"]))))]


def orders(report: Report, found: Sequence[Column]) -> list[Markup]:
    """Who is above whom by which column, folded away."""
    known = {column.key: column for column in found}
    parts = []
    for key, verdicts in report["order"].items():
        if verdicts and key in known:
            unit = "nats per datum" if key == "likelihood" else known[key].unit
            parts.append(_folded(f"by {known[key].title}", order(verdicts, unit)))
    return [_folded("Every pair of models, with the intervals that decide", *parts)] if parts else []


def samples(folder: Path, data: Dataset, models: Sequence[Model]) -> list[Markup]:
    """Samples of every model, after real data."""
    return [element("h2", "Samples beside real data"), gallery(folder, data, models)]


def nearest(folder: Path, data: Dataset, models: Sequence[Model]) -> list[Markup]:
    """Samples above the training data that are nearest to them."""
    figures = neighbours(folder, data, models)
    if not figures:
        return []
    words = (
        "Above the sample, below the training datum that is nearest to it. Samples that are all but equal to their "
        "neighbours were learned by heart."
    )
    return [element("h2", "Nearest training data"), element("p", words), element("div", *figures, class_="gallery")]


def costs(report: Report, found: Sequence[Column]) -> list[Markup]:
    """Quality against training time and against sampling speed."""
    shown = [c for c in (leading(found), next((c for c in found if c.key == "likelihood"), None)) if c is not None]
    drawn = charts(report["models"], shown)
    if not drawn:
        return []
    figures = [captioned(title, note, picture) for title, note, picture in drawn]
    words = (
        "Bars reach two standard errors to either side. A triangle is a lower bound: the true value is at or above it. "
        "The broken line is what real data get."
    )
    return [element("h2", "Quality and cost"), element("p", words), element("div", *figures, class_="gallery charts")]


def learning(folder: Path, models: Sequence[Model]) -> list[Markup]:
    """Training curves: held-out likelihoods together, and so distances from held-out data, then each model's own losses."""
    logs = {model["label"]: folder / model["run"] for model in models if model["run"]}
    figures = [
        captioned(label, "", chart(named, f"training of {label}"))
        for label, log in logs.items()
        if (named := curves(log))
    ]
    figures = [*_held_out(logs), *figures]
    if not figures:
        return []
    words = (
        "Against seconds of training. Each model's own curves are its losses, or the log-likelihood of the training data where "
        "it learns by expectation maximisation; their scales differ, and only their shapes compare."
    )
    return [element("h2", "Training"), element("p", words), element("div", *figures, class_="gallery")]


def _held_out(logs: Mapping[str, Path]) -> Iterator[Markup]:
    """What validation data said of the models while they learned."""
    distance = "energy distance; its scale is that of the data's spread"
    for title, note, far in (
        ("held-out log-likelihood", "nats per datum", False),
        ("distance of samples from held-out data", distance, True),
    ):
        together = {label: curve for label, log in logs.items() if len(curve := validation(log, distance=far)) > 1}
        if together:
            yield captioned(title, note, chart(together, f"{title} in training"))


def evolutions(folder: Path, models: Sequence[Model], *, folded: bool) -> list[Markup]:
    """The same noise as each model learned: folded away where there are several models."""
    found = {model["label"]: evolution(folder / model["run"]) for model in models if model["run"]}
    shown = {label: element("div", *figures, class_="gallery") for label, figures in found.items() if figures}
    if not shown:
        return []
    parts = [_folded(label, figures) if folded else figures for label, figures in shown.items()]
    words = "Samples from the same noise at points of the training."
    return [element("h2", "Samples as they were learned"), element("p", words), *parts]


def warnings(models: Sequence[Model]) -> list[Markup]:
    """Verdicts and flags."""
    found = notes(models)
    return [element("h2", "Before you trust a number"), element("ul", *found, class_="findings")] if found else []


def protocol(report: Report) -> list[Markup]:
    """What the numbers depend on, and the commands that make them again."""
    return [
        element("h2", "Protocol"),
        _terms(protocol_terms(report)),
        element("p", "To do it again:"),
        element("pre", "\n".join(report["commands"])),
    ]


def reading(found: Sequence[Column]) -> list[Markup]:
    """What the words and the measurements mean."""
    return [element("h2", "How to read this"), _terms(glossary(found))]


def citations(report: Report) -> list[Markup]:
    """What to cite, folded away."""
    wanted = keys(report)
    return [element("h2", "To cite"), _folded("BibTeX of what was used here", element("pre", bibtex(wanted)))]


def _terms(pairs: Sequence[tuple[str, str]]) -> Markup:
    parts = [part for name, words in pairs for part in (element("dt", name), element("dd", words))]
    return element("dl", *parts, class_="meaning")


def _folded(name: str, *inside: object) -> Markup:
    return element("details", element("summary", name), joined(*inside))
