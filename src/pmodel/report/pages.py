"""The pages: a comparison, and a single run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Dataset
from ..evaluation import read_evaluation
from ..storage import RECORD, read_json, write_atomic
from . import sections
from .columns import columns, leading, overview
from .commands import evaluating, fitting
from .markup import Markup, document, element
from .script import SCRIPT
from .sentences import facts, findings, lead
from .spreadsheet import CSV, spreadsheet
from .style import STYLE
from .summary import SCHEMA, data_json, origin

__all__ = ["write_comparison_page", "write_run_page"]


def write_comparison_page(folder: Path, data: Dataset, report: Mapping[str, Any]) -> None:
    """Write ``report.html`` and ``report.csv`` beside ``report.json``.

    Args:
        folder: Of the comparison; it holds the runs.
        data: The data set, for real data beside the samples.
        report: What ``summary`` returned.
    """
    models = report["models"]
    found = columns(models, report["data"]["truth"])
    first = overview(found)
    body = [
        _header("comparison", data.name, lead(data), facts(report)),
        element("ul", *(element("li", words) for words in findings(report, leading(found))), class_="findings"),
        *sections.results_section(report, first),
        *sections.orders(report, found),
        *sections.each_seed(report),
        *sections.samples(folder, data, models),
        *sections.costs(report, found),
        *sections.warnings(models),
        *sections.measurements(report, found, first),
        *sections.nearest(folder, data, models),
        *sections.evolutions(folder, models, folded=True),
        *sections.learning(folder, models),
        *_end(report, found, "The numbers are in report.json and report.csv beside this page."),
    ]
    title = f"{report['data']['name']}: a comparison"
    write_atomic(folder / CSV, spreadsheet(report).encode())
    write_atomic(folder / "report.html", document(title, STYLE, SCRIPT, *body).encode())


def write_run_page(folder: str | Path, data: Dataset) -> None:
    """Write ``report.html`` into a run folder that has been evaluated.

    Raises:
        RunError: if the folder holds no run or no evaluation.
    """
    folder = Path(folder)
    report = _of_run(folder, data)
    models = report["models"]
    found = columns(models)
    first = overview(found)
    title = f"{models[0]['name']} on {data.name}"
    body = [
        _header("run", title, lead(data), facts(report)),
        *sections.results_section(report, first),
        *sections.samples(folder, data, models),
        *sections.warnings(models),
        *sections.measurements(report, found, first),
        *sections.nearest(folder, data, models),
        *sections.evolutions(folder, models, folded=False),
        *sections.learning(folder, models),
        *_end(report, found, "The numbers are in scores.json beside this page."),
    ]
    write_atomic(folder / "report.html", document(title, STYLE, SCRIPT, *body).encode())


def _of_run(folder: Path, data: Dataset) -> dict[str, Any]:
    """A report of one model, from what its run folder holds."""
    evaluation, protocol = read_evaluation(folder)
    record = read_json(folder / RECORD)
    name = str(record.get("name") or _of_spec(record))
    model = {
        "name": name,
        "label": name,
        "options": record.get("options") or {},
        "seeds": [{"seed": record.get("seed"), "error": None}],
        **evaluation.to_json(),
        "run": ".",
        "error": None,
        "place": {},
    }
    return {
        "schema": SCHEMA,
        **origin(),
        "data": data_json(data) | {"truth": None},
        "protocol": protocol | {"seeds": [record.get("seed")]},
        "judge": None,
        "models": [model],
        "order": {},
        "commands": [*filter(None, [fitting(record)]), evaluating(folder, data, record, protocol["n"])],
    }


def _of_spec(record: Mapping[str, Any]) -> str:
    spec = record.get("model")
    return str(spec.get("model", "model")) if isinstance(spec, dict) else "model"


def _header(kind: str, title: str, words: str, pairs: Sequence[tuple[str, str]]) -> Markup:
    terms = [element("div", element("dt", name), element("dd", value)) for name, value in pairs]
    return element(
        "header",
        element("p", f"pmodel, {kind}", class_="kicker"),
        element("h1", title),
        element("p", words, class_="lead"),
        element("dl", *terms, class_="facts"),
    )


def _end(report: Mapping[str, Any], found: Sequence[Any], where: str) -> list[Markup]:
    """What stands at the end of every page: how it was made, how it is read, what to cite."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    footer = element("footer", f"Written {report['written']} by {versions}. {where}")
    return [*sections.protocol(report), *sections.reading(found), *sections.citations(report), footer]
