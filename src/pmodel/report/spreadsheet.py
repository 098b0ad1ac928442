"""``report.csv``: one row for each model and seed, one column for each number, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["CSV", "spreadsheet"]

CSV = "report.csv"
FIRST = ("model", "label", "seed", "run", "error")
ACTIVE = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet program takes for the beginning of a formula."""


def spreadsheet(report: Mapping[str, Any]) -> str:
    """The table of all seeds, as RFC 4180 has it.

    Columns are named by their path in ``report.json``, such as ``metrics.fid.value``; a field is empty where a seed lacks the
    number. A text that a spreadsheet program would compute begins with an apostrophe instead.
    """
    rows = [_row(model, seed) for model in report["models"] for seed in model["seeds"]]
    heads = list(dict.fromkeys([*FIRST, *(name for row in rows for name in row)]))
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # its defaults are those of RFC 4180
    writer.writerow(map(_safe, heads))
    writer.writerows([_safe(row.get(name)) for name in heads] for row in rows)
    return text.getvalue()


def _row(model: Mapping[str, Any], seed: Mapping[str, Any]) -> dict[str, Any]:
    row = {"model": model["name"], "label": model["label"], **{name: seed[name] for name in ("seed", "run", "error")}}
    for part in ("likelihood", "metrics", "speed"):
        row |= dict(_numbers(seed.get(part) or {}, f"{part}."))
    if seed.get("likelihood"):
        row["likelihood.kind"] = seed["likelihood"]["kind"]
    return row | ({"parameters": seed["parameters"]} if "parameters" in seed else {})


def _numbers(written: Mapping[str, Any], path: str) -> Iterator[tuple[str, float | int]]:
    """Every number, by its path; lists are left to ``report.json``."""
    for name, value in written.items():
        if isinstance(value, Mapping):
            if name != "measure":
                yield from _numbers(value, f"{path}{name}.")
        elif isinstance(value, int | float):
            yield f"{path}{name}", int(value) if isinstance(value, bool) else value


def _safe(value: Any) -> Any:
    """Numbers as they are, with all their digits; texts that cannot be taken for a formula."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(ACTIVE) else value
