"""The tables of the page: results, and who is above whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .markup import Markup, element
from .numbers import count, duration, likelihood, metric, number, place, share

__all__ = ["measure_words", "order", "results"]

Model = Mapping[str, Any]


def results(models: Sequence[Model], truth: Mapping[str, Any] | None, caption: str) -> Markup:
    """A row for each model; a column stands only where some model has the number."""
    columns = [column for column in _columns(models) if any(column[1](m) for m in models)]
    heads = [element("th", "model", scope="col"), *(element("th", head, scope="col") for head, _ in columns)]
    rows = [_row(model, columns) for model in models]
    if truth is not None:
        blank = [element("td", class_="blank") for _ in columns[1:]]
        value = element("td", element("span", likelihood(truth), class_="n"), data_label=columns[0][0])
        rows.append(element("tr", element("th", "the true density", scope="row"), value, *blank, class_="reference"))
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_="results",
    )
    return element("div", table, class_="scroll")


def _columns(models: Sequence[Model]) -> list[tuple[str, Any]]:
    scored = sum(1 for m in models if m["place"].get("likelihood"))
    measured = sum(1 for m in models if m["place"].get("fid"))
    return [
        ("log-likelihood, nats", lambda m: _likelihood(m, scored)),
        ("bits per dimension", lambda m: _bits(m["metrics"].get("bits_per_dim"))),
        ("distance (FID)", lambda m: _distance(m, measured)),
        ("clear to the judge", lambda m: _judged(m["metrics"].get("judge"))),
        ("training", lambda m: _training(m["speed"])),
        ("samples a second", lambda m: _sampling(m["speed"])),
        ("parameters", lambda m: _cell(count(m["parameters"])) if m["parameters"] is not None else None),
    ]


def _row(model: Model, columns: Sequence[tuple[str, Any]]) -> Markup:
    head = element("th", model["name"], _options(model), scope="row")
    if model["error"] and not model["run"]:
        words = element("td", element("span", f"failed: {model['error']}"), colspan=len(columns), data_label="")
        return element("tr", head, words, class_="failed")
    cells = []
    for label, make in columns:
        inside = make(model)
        cells.append(element("td", class_="blank") if inside is None else element("td", *inside, data_label=label))
    return element("tr", head, *cells)


def _options(model: Model) -> Markup | None:
    """Options, and for several seeds how many of them there are."""
    words = [f"{name} = {value}" for name, value in model["options"].items()]
    done = sum(1 for seed in model["seeds"] if not seed["error"])
    words += [f"{done} of {len(model['seeds'])} seeds"] if len(model["seeds"]) > 1 else []
    return element("span", ", ".join(words), class_="sub") if words else None


def _cell(value: str, *subs: str) -> list[Markup]:
    parts = [element("span", value, class_="n"), *(element("span", sub, class_="sub") for sub in subs if sub)]
    return [element("span", *parts)]


def _likelihood(model: Model, of: int) -> list[Markup]:
    written = model["likelihood"]
    if written is None:
        refused = any(sentence.startswith("no likelihood") for sentence in model["health"])
        return _cell("none", "" if refused else "it has no density")
    words = {"exact": "exact", "lower_bound": "lower bound", "estimate": "estimate"}[written["kind"]]
    ranked = "never ranked" if written["kind"] == "estimate" else place(model["place"].get("likelihood"), of)
    return _cell(likelihood(written), words, f"place {ranked}" if ranked[:1].isdigit() else ranked)


def _bits(written: Mapping[str, Any] | None) -> list[Markup] | None:
    return None if written is None or written["impossible"] else _cell(likelihood(written))


def _distance(model: Model, of: int) -> list[Markup] | None:
    fid = model["metrics"].get("fid")
    if fid is None:
        return None
    ranked = place(model["place"].get("fid"), of)
    return _cell(
        metric(fid),
        f"floor {number(fid['floor'], fid['floor_stderr'])}",
        f"place {ranked}" if ranked[:1].isdigit() else ranked,
    )


def _judged(judge: Mapping[str, Any] | None) -> list[Markup] | None:
    if judge is None:
        return None
    missing = f"missing: {', '.join(judge['missing'])}" if judge["missing"] else ""
    classes = f"{judge['present']} of {judge['expected']} classes" if judge["expected"] > 1 else ""
    return _cell(share(judge["value"]), f"real {share(judge['real'])}", missing or classes)


def _training(speed: Mapping[str, Any]) -> list[Markup] | None:
    seconds = speed.get("training_seconds")
    if seconds is None:
        return None
    images = speed.get("training_images")
    return _cell(duration(seconds), f"{count(images)} data seen" if images else "")


def _sampling(speed: Mapping[str, Any]) -> list[Markup] | None:
    rate = speed.get("samples_per_second")
    if rate is None:
        return None
    calls = speed.get("network_calls", 0)
    return _cell(
        number(float(f"{rate:.2g}")).split(".")[0] if rate >= 10 else number(rate),
        f"{count(calls)} network call{'s' if calls != 1 else ''}" if calls else "no network",
    )


def order(verdicts: Sequence[Mapping[str, Any]], unit: str) -> Markup:
    """Every pair, with the difference, its interval and why that decides or not."""
    rows = []
    for verdict in verdicts:
        first, second = verdict["first"], verdict["second"]
        words = {"first": f"{first} is above", "second": f"{second} is above", "undecided": "undecided"}
        difference, interval = verdict["difference"], verdict["interval"]
        spread = (
            ""
            if interval is None
            else f"from {number(interval[0], _width(interval))} to {number(interval[1], _width(interval))}"
        )
        value = "–" if difference is None else number(difference, None if interval is None else _width(interval))
        cells = [f"{first} − {second}", value, spread, words[verdict["outcome"]], verdict["why"]]
        rows.append(element("tr", *(element("td", cell) for cell in cells)))
    heads = ("pair", f"difference, {unit}", "99 % interval", "verdict", "because")
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
            element("tbody", *rows),
        ),
        class_="scroll",
    )


def _width(interval: Sequence[float]) -> float:
    return (interval[1] - interval[0]) / 4


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
