"""The tables of the page: results, and who is above whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from .columns import GROUPS, WAYS, Cell, Column
from .markup import Markup, element
from .numbers import number

__all__ = ["measure_words", "order", "results"]

Model = Mapping[str, Any]

LONGEST_UNIT = 12
"""Characters of a unit at the head of a column; a longer one stands in the glossary only."""
REFERENCES = {
    "truth": ("the true density", "no model is above it"),
    "floor": ("real data", "the floor"),
    "training": ("training data", "the control"),
    "held_out": ("held-out data", "the control"),
}


def results(models: Sequence[Model], columns: Sequence[Column], caption: str = "") -> Markup:
    """A row for each model, and under them, apart, rows of what real data get. Without a script it is as whole."""
    grouped = [(group, len(list(part))) for group, part in groupby(column.group for column in columns)]
    above = [
        element("td"),
        *(element("th", element("span", GROUPS[g][0]), scope="colgroup", colspan=k) for g, k in grouped),
    ]
    first = element("th", "model", scope="col", data_sort="text")
    heads = element("tr", first, *(_head(column) for column in columns))
    known = [name for name in REFERENCES if any(name in column.references for column in columns)]
    table = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", *above, class_="groups") if len(grouped) > 1 else None, heads),
        element("tbody", *(_row(model, columns) for model in models)),
        element("tfoot", *(_reference(name, columns) for name in known)) if known else None,
        class_=" ".join(
            ["results", *(["sortable"] if len(models) > 1 else []), *([] if len(grouped) > 1 else ["part"])]
        ),
    )
    return element("div", table, class_="scroll")


def _head(column: Column) -> Markup:
    sign, words = WAYS.get(column.better, ("", ""))
    way = element("span", sign, class_="way", role="img", aria_label=words, title=words) if sign else None
    unit = element("span", column.unit, class_="sub") if 0 < len(column.unit) <= LONGEST_UNIT else None
    first = "descending" if column.better in ("larger", "real") else "ascending"
    return element(
        "th",
        element("span", column.title),
        "\N{NO-BREAK SPACE}" if way else None,
        way,
        unit,
        scope="col",
        data_sort=first,
    )


def _row(model: Model, columns: Sequence[Column]) -> Markup:
    head = element("th", model["name"], _options(model), scope="row", data_text=model["label"])
    if model["error"] and not model["run"]:
        words = element("td", element("span", f"failed: {model['error']}"), colspan=len(columns), data_label="")
        return element("tr", head, words, class_="failed")
    return element("tr", head, *(_cell(column, column.cell(model)) for column in columns))


def _reference(name: str, columns: Sequence[Column]) -> Markup:
    title, words = REFERENCES[name]
    cells = (_cell(column, column.references.get(name)) for column in columns)
    return element(
        "tr", element("th", title, element("span", words, class_="sub"), scope="row"), *cells, class_="reference"
    )


def _cell(column: Column, cell: Cell | None) -> Markup:
    """A cell; ``data-value`` is the number in full, by which the column is sorted."""
    if cell is None:
        return element("td", class_="blank")
    note = "; ".join(cell.flags)
    mark = element("abbr", "†", title=note, aria_label=f"note: {note}", role="img", class_="mark") if note else None
    number_ = element("span", cell.text, class_="n")
    subs = [element("span", sub, class_="sub") for sub in cell.subs if sub]
    inside = element("span", number_, mark, *subs)
    return element("td", inside, data_label=column.title, data_value=None if cell.value is None else repr(cell.value))


def _options(model: Model) -> Markup | None:
    """Options, and for several seeds how many of them there are."""
    words = [f"{name} = {value}" for name, value in model["options"].items()]
    done = sum(1 for seed in model["seeds"] if not seed["error"])
    words += [f"{done} of {len(model['seeds'])} seeds"] if len(model["seeds"]) > 1 else []
    return element("span", ", ".join(words), class_="sub") if words else None


def order(verdicts: Sequence[Mapping[str, Any]], unit: str) -> Markup:
    """Every pair, with the difference, its interval and why that decides or not."""
    kinds = ("text", "descending", "none", "text", "none")
    heads = (
        "pair",
        f"the first is better by, in {unit}" if unit else "the first is better by",
        "99 % interval",
        "verdict",
        "because",
    )
    sortable = "sortable pairs" if len(verdicts) > 1 else "pairs"
    top = (
        element("th", element("span", head), scope="col", data_sort=None if kind == "none" else kind)
        for head, kind in zip(heads, kinds, strict=True)
    )
    body = element("tbody", *(_pair(verdict) for verdict in verdicts))
    return element(
        "div", element("table", element("thead", element("tr", *top)), body, class_=sortable), class_="scroll"
    )


def _pair(verdict: Mapping[str, Any]) -> Markup:
    first, second = verdict["first"], verdict["second"]
    difference, interval = verdict["difference"], verdict["interval"]
    wide = None if interval is None else (interval[1] - interval[0]) / 4
    spread = "" if interval is None else f"from {number(interval[0], wide)} to {number(interval[1], wide)}"
    outcome = {"first": f"{first} is better", "second": f"{second} is better", "undecided": "undecided"}[
        verdict["outcome"]
    ]
    undecided = "" if verdict["outcome"] == "undecided" else None  # an empty text sorts last
    value = element(
        "td",
        "–" if difference is None else number(difference, wide),
        data_value=None if difference is None else repr(difference),
    )
    return element(
        "tr",
        element("td", f"{first}, {second}"),
        value,
        element("td", spread),
        element("td", outcome, data_text=undecided),
        element("td", verdict["why"]),
    )


def measure_words(measure: Mapping[str, Any] | None) -> str:
    """A measure as a sentence's part."""
    if measure is None:
        return "nothing"
    probability = {
        "mass": "probability mass",
        "density": "probability density in the units of the data",
        "mixed": "mass of the discrete columns times density of the real ones",
    }.get(measure.get("probability", ""), "")
    parts = [f"{measure['split']} split", str(measure["which"]), probability, measure.get("extractor", "")]
    return ", ".join(part for part in [*parts, f"data {measure['data'][:12]}"] if part)
