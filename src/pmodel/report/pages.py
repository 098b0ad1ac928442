"""The pages: a comparison, and a single run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Dataset
from ..domain import Discrete, Table
from ..evaluation import read_evaluation
from ..metrics.measure import choose
from ..storage import RECORD, read_json, write_atomic
from ..train.diagnosis import REMEDY, USELESS
from .curves import chart, curves
from .figures import Gallery
from .markup import Markup, document, element, image_uri
from .numbers import count, duration, number, share
from .style import STYLE
from .summary import SCHEMA, data_json, origin
from .tables import measure_words, order, results

__all__ = ["write_comparison_page", "write_run_page"]

SHOWN = 4096
"""Real data that a picture may use, at most."""
LARGEST_PICTURE = 8 * 2**20

MEANING = (
    ("= exact", "The model's own log-likelihood. Two exact values are compared datum by datum."),
    (
        "≥ lower bound",
        "The true value is at least this. A bound above another model's exact value decides; a bound below decides nothing, "
        "and neither do two bounds.",
    ),
    ("≈ estimate", "It may err to either side. It is shown and never ranked."),
    ("none", "The model is implicit: it makes samples and has no density."),
    (
        "impossible",
        "The model gives probability zero to data that were held out, so its mean log-likelihood is minus infinity.",
    ),
    (
        "undecided",
        "The 99 % interval of the difference does not settle which model is better, or the kinds of number cannot.",
    ),
    (
        "distance (FID)",
        "Fréchet distance between features of samples and of real data; smaller is better. The floor is the distance of as "
        "many real data from the same reference: what a perfect model would get.",
    ),
    (
        "clear to the judge",
        "Share of samples that a classifier of the real data assigns to one class with confidence .9 or more, beside that of "
        "held-out real data. It sees whether samples are recognisable, not whether they are varied.",
    ),
)


def write_comparison_page(folder: Path, data: Dataset, report: Mapping[str, Any]) -> None:
    """Write ``report.html`` beside ``report.json``.

    Args:
        folder: Of the comparison; it holds the runs.
        data: The data set, for real data beside the samples.
        report: What ``summary`` returned.
    """
    body = [
        _header("comparison", data.name, _lead(data), _facts(report)),
        element("ul", *(element("li", finding) for finding in _findings(report)), class_="findings"),
        element("h2", "Results"),
        results(report["models"], report["data"]["truth"], _caption(report)),
        *_orders(report),
        *_notes(report["models"]),
        element("h2", "Samples beside real data"),
        _gallery(folder, data, report["models"]),
        *_curves(folder, report["models"]),
        *_protocol(report),
        *_reading(),
        _footer(report),
    ]
    title = f"{report['data']['name']}: a comparison of {len(report['models'])} models"
    write_atomic(folder / "report.html", document(title, STYLE, *body).encode())


def write_run_page(folder: str | Path, data: Dataset) -> None:
    """Write ``report.html`` into a run folder that has been evaluated.

    Raises:
        RunError: if the folder holds no run or no evaluation.
    """
    folder = Path(folder)
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
    report = {
        "schema": SCHEMA,
        **origin(),
        "data": data_json(data) | {"truth": None},
        "protocol": protocol | {"seeds": [record.get("seed")]},
        "judge": None,
        "models": [model],
        "order": {},
        "commands": [shlex.join(["pmodel", "evaluate", folder.name, "-n", str(protocol["n"])])],
    }
    body = [
        _header("run", f"{name} on {data.name}", _lead(data), _facts(report)),
        element("h2", "Results"),
        results([model], None, _caption(report)),
        *_notes([model]),
        element("h2", "Samples beside real data"),
        _gallery(folder, data, [model]),
        *_evolution(folder),
        *_curves(folder, [model]),
        *_protocol(report),
        *_reading(),
        _footer(report),
    ]
    write_atomic(folder / "report.html", document(f"{name} on {data.name}", STYLE, *body).encode())


def _of_spec(record: Mapping[str, Any]) -> str:
    spec = record.get("model")
    return str(spec.get("model", "model")) if isinstance(spec, dict) else "model"


def _header(kind: str, title: str, lead: str, facts: Sequence[tuple[str, str]]) -> Markup:
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    return element(
        "header",
        element("p", f"pmodel, {kind}", class_="kicker"),
        element("h1", title),
        element("p", lead, class_="lead"),
        element("dl", *pairs, class_="facts"),
    )


def _lead(data: Dataset) -> str:
    """What one datum is, in a line."""
    shape = "×".join(map(str, data.domain.shape)) or "1"
    if isinstance(data.domain, Table):
        what = f"rows of {shape} columns"
    else:
        what = (
            f"images of {shape}"
            if data.domain.image
            else f"{shape} number{'s' if data.domain.entries > 1 else ''} a datum"
        )
        what += f", {data.domain.levels} levels" if isinstance(data.domain, Discrete) else ", real"
    return f"{what}, {len(data.label_names)} labels" if data.given is not None else what


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, protocol, judge = report["data"], report["protocol"], report["judge"]
    sizes = " / ".join(count(data["sizes"][name]) for name in ("train", "valid", "test"))
    training = "the models' own recipes"
    if protocol.get("budget") is not None:
        training = f"{duration(protocol['budget'])} for each model"
    elif protocol.get("steps") is not None:
        training = f"{count(protocol['steps'])} steps for each model"
    facts = [
        ("train / valid / test data", sizes),
        ("content hash", data["hash"][:16]),
        ("training", training) if "budget" in protocol else ("seed", str(protocol["seeds"][0])),
        ("measured with", f"{count(protocol['n'])} samples"),
    ]
    if judge is not None:
        facts.append(("judge", f"{share(judge['accuracy'])} right on {judge['accuracy_on']}"))
    return [*facts, ("note", data["note"])] if data["note"] else facts


def _findings(report: Mapping[str, Any]) -> list[str]:
    """What follows from the numbers, in sentences."""
    found = []
    for column, what in (("likelihood", "By likelihood"), ("fid", "By distance")):
        placed = {m["label"]: m["place"][column] for m in report["models"] if m["place"].get(column)}
        if len(placed) < 2:
            continue
        first = [label for label, place in placed.items() if place["worst"] == 1]
        rivals = [label for label, place in placed.items() if place["best"] == 1]
        if first:
            found.append(f"{what}, {first[0]} is first of {len(placed)}.")
        else:
            found.append(f"{what}, no model is certainly first: it is undecided between {_listed(rivals)}.")
    bounds = [m["label"] for m in report["models"] if (m["likelihood"] or {}).get("kind") == "lower_bound"]
    if bounds and len(report["models"]) > len(bounds):
        found.append(f"Only a lower bound of the likelihood is known for {_listed(bounds)}.")
    none = [m["label"] for m in report["models"] if m["likelihood"] is None and m["run"]]
    found += [f"No likelihood exists for {_listed(none)}: samples are all there is to judge."] if none else []
    useless = [m["label"] for m in report["models"] if any(USELESS in sentence for sentence in m["health"])]
    found += [f"Of no use as trained here: {_listed(useless)}; the notes below say why."] if useless else []
    failed = [m["label"] for m in report["models"] if m["error"]]
    return found + ([f"Failed: {_listed(failed)}; the table says why."] if failed else [])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _caption(report: Mapping[str, Any]) -> str:
    protocol = report["protocol"]
    parts = [f"Likelihood: {measure_words(protocol['measure'])}; mean per datum ± standard error."]
    if any(m["metrics"].get("fid") for m in report["models"]):
        fid = next(m["metrics"]["fid"] for m in report["models"] if m["metrics"].get("fid"))
        parts.append(
            f"Distance: {count(fid['n'])} samples against {count(fid['n_reference'])} real data, "
            f"{fid['dimensions']} features; {measure_words(protocol['fidelity'])}."
        )
        if report["judge"] is None and "judge" not in protocol["fidelity"].get("extractor", ""):
            parts.append("On plain columns it sees means and covariances only.")
    return " ".join(parts)


def _orders(report: Mapping[str, Any]) -> list[Markup]:
    """Who is above whom, folded away."""
    units = {"likelihood": "nats per datum", "fid": "smaller distance counts as above"}
    return [
        element("details", element("summary", f"Every pair by {column}"), order(verdicts, units[column]))
        for column, verdicts in report["order"].items()
        if verdicts
    ]


def _notes(models: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """What a reader should know of single models."""
    notes = [_note(m["label"], sentence) for m in models for sentence in m["health"]]
    notes += [
        element("li", f"{m['label']}, seed {seed['seed']}: failed, {seed['error']}")
        for m in models
        for seed in m["seeds"]
        if seed["error"] and m["run"]
    ]
    if not notes:
        return []
    return [
        element("h2", "Before you trust a number"),
        element("ul", *notes, class_="findings"),
    ]


def _note(label: str, sentence: str) -> Markup:
    """A sentence on a model, with the remedy under it if it is one of the doctor's verdicts."""
    words, _, remedy = sentence.partition(REMEDY)
    sub = element("span", f"What to do: {remedy}.", class_="sub") if remedy else None
    return element("li", f"{label}: {words.removesuffix('.')}.", sub)


def _gallery(folder: Path, data: Dataset, models: Sequence[Mapping[str, Any]]) -> Markup:
    """Samples of every model after as many real data that no model has seen, where there are such."""
    rows = choose(len(data.test), SHOWN, 0, "gallery")
    real = data.domain.check(data.test.x[rows])
    gallery = Gallery(data.domain, real)
    which = "training data: there are no others" if data.test is data.train else "held out"
    order = choose(len(real), 100, 0, "shown") if data.domain.image else choose(len(real), len(real), 0, "shown")
    figures = [_figure("real data", which, gallery.figure(real[order], f"real data of {data.name}"), real=True)]
    for model in models:
        if model["run"] is None:
            continue
        samples = read_evaluation(folder / model["run"])[0].samples
        if samples is None:
            inside = element("p", "This model cannot be sampled.", class_="aside")
        else:
            inside = gallery.figure(samples, f"samples of {model['label']}")
        options = ", ".join(f"{k} = {v}" for k, v in model["options"].items())
        figures.append(_figure(model["name"], options, inside))
    return element("div", *figures, class_="gallery wide" if gallery.wide else "gallery")


def _figure(caption: str, more: str, inside: Markup, *, real: bool = False) -> Markup:
    sub = element("span", more, class_="sub") if more else None
    return element("figure", element("figcaption", caption, sub), inside, class_="real" if real else None)


def _evolution(folder: Path) -> list[Markup]:
    """The pictures that training left, from the same noise each time."""
    pictures = sorted(p for p in folder.glob("samples/[0-9]*.png") if p.stat().st_size <= LARGEST_PICTURE)
    if len(pictures) < 2:
        return []
    figures = [
        _figure(
            f"after {int(path.stem) / 10:.0f} %",
            "",
            element("img", src=image_uri(path.read_bytes()), alt="samples at this point", class_="grid", width=296),
        )
        for path in pictures
        if path.stem.isdecimal()
    ]
    return [element("h2", "Samples as it learned"), element("div", *figures, class_="gallery")]


def _curves(folder: Path, models: Sequence[Mapping[str, Any]]) -> list[Markup]:
    figures = []
    for model in models:
        named = curves(folder / model["run"]) if model["run"] else {}
        if named:
            figures.append(_figure(model["label"], "", chart(named, f"training of {model['label']}")))
    if not figures:
        return []
    words = "Losses, or the log-likelihood of the training data where a model learns by expectation maximisation, against time."
    return [
        element("h2", "Training"),
        element("p", f"{words} Their scales differ: only the shapes compare."),
        element("div", *figures, class_="gallery"),
    ]


def _protocol(report: Mapping[str, Any]) -> list[Markup]:
    protocol, machine, judge = report["protocol"], report["machine"], report["judge"]
    pairs = [
        ("data", f"{report['data']['name']}, sha256 {report['data']['hash']}"),
        ("likelihood", measure_words(protocol["measure"])),
        ("bounds", f"{protocol['effort']} draws for each datum, evaluation seed {protocol['seed']}"),
        ("distance", measure_words(protocol["fidelity"])),
        ("training seeds", ", ".join(map(str, protocol["seeds"]))),
        ("machine", f"{machine['system']}, {machine['processor']}, {machine['threads']} threads"),
    ]
    if judge is not None:
        pairs.append(
            (
                "judge",
                f"classifier of {judge['data']}, {count(judge['steps'])} steps, accuracy {share(judge['accuracy'])} on "
                f"{judge['accuracy_on']}, temperature {number(judge['temperature'])}, sha256 {judge['sha256'][:16]}",
            )
        )
    terms = [part for name, value in pairs for part in (element("dt", name), element("dd", value))]
    return [
        element("h2", "Protocol"),
        element("dl", *terms, class_="meaning"),
        element("p", "To do it again:"),
        element("pre", "\n".join(report["commands"])),
    ]


def _reading() -> list[Markup]:
    terms = [part for name, words in MEANING for part in (element("dt", name), element("dd", words))]
    return [element("h2", "How to read this"), element("dl", *terms, class_="meaning")]


def _footer(report: Mapping[str, Any]) -> Markup:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return element(
        "footer",
        f"Written {report['written']} by {versions}. The numbers are in report.json or scores.json beside this page.",
    )
