"""What the page says in words: what was found, what to beware of, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..data import Dataset
from ..domain import Discrete, Sequences, Table
from ..metrics.catalogue import METRICS
from ..metrics.catalogue import row as metric_row
from ..train.diagnosis import REMEDY, USELESS
from .columns import WAYS, Column
from .markup import Markup, element
from .numbers import count, duration, number, share
from .tables import measure_words

__all__ = ["caption", "facts", "findings", "glossary", "lead", "notes", "protocol_terms"]

Report = Mapping[str, Any]

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
        "place 1–3",
        "Undecided: the 99 % interval of the difference does not settle which model is better, or the kinds of number cannot.",
    ),
    ("±", "One standard error to either side, of the data, the samples and the training seeds together."),
    (
        "the floor",
        "What as many real data get, measured like a model's samples: random halves of one set. No honest model is expected to "
        "do better.",
    ),
    (
        "the control",
        "What data of the other side of learning get: training data, measured like samples against held-out ones, or held-out "
        "data where the reference is a part of the training set. A model would get it that repeats what it learned from.",
    ),
)


def lead(data: Dataset) -> str:
    """What one datum is, in a line."""
    shape = "×".join(map(str, data.domain.shape)) or "1"
    if isinstance(data.domain, Sequences):
        what = _of_sequences(data.domain)
    elif isinstance(data.domain, Table):
        what = f"rows of {shape} columns"
    else:
        entries = f"{shape} number{'s' if data.domain.entries > 1 else ''} a datum"
        what = f"images of {shape}" if data.domain.image else entries
        what += f", {data.domain.levels} levels" if isinstance(data.domain, Discrete) else ", real"
    return f"{what}, {len(data.label_names)} labels" if data.given is not None else what


def _of_sequences(domain: Sequences) -> str:
    """What a sequence is, in a line."""
    if domain.alphabet is not None:
        return f"texts of at most {domain.longest} {domain.alphabet.tokens}s, {domain.end} symbols"
    element = f"{domain.end} levels" if isinstance(domain.element, Discrete) else "real"
    shape = "×".join(map(str, domain.element.shape)) or "1"
    numbers = f"{shape} number{'s' if domain.element.entries > 1 else ''}"
    return f"sequences of at most {domain.longest} elements of {numbers}, {element}"


def _sampled(report: Report) -> int:
    """The samples of each model that were measured: fewer than were asked for where there are fewer data to hold against."""
    measured = (metric for model in report["models"] for metric in model["metrics"].values())
    found = [metric["n"] for metric in measured if metric.get("floor") is not None and "n_reference" in metric]
    return int(max(found, default=report["protocol"]["n"]))


def facts(report: Report) -> list[tuple[str, str]]:
    """The head of the page: how much data, how much training, measured with what."""
    data, protocol, judge = report["data"], report["protocol"], report["judge"]
    sizes = " / ".join(count(data["sizes"][name]) for name in ("train", "valid", "test"))
    training = "the models' own recipes"
    if protocol.get("budget") is not None:
        training = f"{duration(protocol['budget'])} for each model"
    elif protocol.get("steps") is not None:
        training = f"{count(protocol['steps'])} steps for each model"
    seeds = protocol["seeds"]
    training += f", {len(seeds)} seeds" if len(seeds) > 1 else ""
    found = [
        ("train / valid / test data", sizes),
        ("content hash", data["hash"][:16]),
        ("training", training) if "budget" in protocol else ("seed", str(seeds[0])),
        ("measured with", f"{count(_sampled(report))} samples"),
    ]
    if judge is not None and judge.get("accuracy") is not None:
        found.append(("judge", f"{share(judge['accuracy'])} right on {judge['accuracy_on']}"))
    return [*found, ("note", data["note"])] if data["note"] else found


def findings(report: Report, distance: Column | None) -> list[str]:
    """What follows from the numbers, in sentences."""
    models = report["models"]
    ranked = [("likelihood", "By likelihood")]
    ranked += (
        [] if distance is None else [(distance.key, f"By {distance.title}" if distance.key != "fid" else "By distance")]
    )
    found = [sentence for key, what in ranked if (sentence := _first(models, key, what))]
    bounds = [m["label"] for m in models if (m["likelihood"] or {}).get("kind") == "lower_bound"]
    if bounds and len(models) > len(bounds):
        found.append(f"Only a lower bound of the likelihood is known for {_listed(bounds)}.")
    none = [m["label"] for m in models if m["likelihood"] is None and m["run"]]
    found += [f"No likelihood exists for {_listed(none)}: samples are all there is to judge."] if none else []
    useless = [m["label"] for m in models if any(USELESS in sentence for sentence in m["health"])]
    found += [f"Of no use as trained here: {_listed(useless)}; the notes below say why."] if useless else []
    failed = [m["label"] for m in models if m["error"]]
    return found + ([f"Failed: {_listed(failed)}; the table says why."] if failed else [])


def _first(models: Sequence[Mapping[str, Any]], key: str, what: str) -> str | None:
    """Who is first by a column, or between whom that is undecided; nothing for fewer than two."""
    placed = {m["label"]: m["place"][key] for m in models if m["place"].get(key)}
    if len(placed) < 2:
        return None
    first = [label for label, place in placed.items() if place["worst"] == 1]
    if first:
        return f"{what}, {first[0]} is first of {len(placed)}."
    rivals = [label for label, place in placed.items() if place["best"] == 1]
    return f"{what}, no model is certainly first: it is undecided between {_listed(rivals)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def caption(report: Report, columns: Sequence[Column]) -> str:
    """Under the first table: what its numbers are."""
    protocol = report["protocol"]
    parts = [f"Likelihood: {measure_words(protocol['measure'])}; mean per datum ± standard error."]
    written = next(
        (m["metrics"][c.key] for c in columns for m in report["models"] if _is_metric(c) and c.key in m["metrics"]),
        None,
    )
    if written is not None:
        parts.append(
            f"Samples: {count(written['n'])} of each model against {count(written.get('n_reference', written['n']))} real "
            f"data; {measure_words(protocol['fidelity'])}."
        )
        if any(c.key == "fid" for c in columns) and "columns" in protocol["fidelity"].get("extractor", ""):
            parts.append("On plain columns a distance between Gaussians sees means and covariances only.")
    signs = {column.better: WAYS[column.better] for column in columns if column.better in WAYS}
    return " ".join([*parts, ", ".join(f"{sign}: {words}" for sign, words in signs.values()) + "."])


def _is_metric(column: Column) -> bool:
    return column.group in ("distance", "variety", "recognised")


def notes(models: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """What a reader should know of single models and single numbers."""
    found = [_note(m["label"], sentence) for m in models for sentence in m["health"]]
    found += [
        element("li", f"{m['label']}, seed {seed['seed']}: failed, {seed['error']}")
        for m in models
        for seed in m["seeds"]
        if seed["error"] and m["run"]
    ]
    flagged: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for name, written in model["metrics"].items():
            for sentence in written.get("flags", ()):
                flagged.setdefault((name, sentence), []).append(model["label"])
    return found + [
        element("li", f"† {_title(name)}, {_listed(labels)}: {sentence}.")
        for (name, sentence), labels in flagged.items()
    ]


def _title(name: str) -> str:
    return metric_row(name).title if any(row.name == name for row in METRICS) else name


def _note(label: str, sentence: str) -> Markup:
    """A sentence on a model, with the remedy under it if it is one of the doctor's verdicts."""
    words, _, remedy = sentence.partition(REMEDY)
    sub = element("span", f"What to do: {remedy}.", class_="sub") if remedy else None
    return element("li", f"{label}: {words.removesuffix('.')}.", sub)


def protocol_terms(report: Report) -> list[tuple[str, str]]:
    """Everything that the numbers depend on beside the models, as terms and words."""
    protocol, machine, judge = report["protocol"], report["machine"], report["judge"]
    pairs = [
        ("data", f"{report['data']['name']}, sha256 {report['data']['hash']}"),
        ("likelihood", measure_words(protocol["measure"])),
        ("bounds", f"{protocol['effort']} draws for each datum, evaluation seed {protocol['seed']}"),
        ("samples", measure_words(protocol["fidelity"])),
        ("training seeds", ", ".join(map(str, protocol["seeds"]))),
        ("machine", f"{machine['system']}, {machine['processor']}, threads: {machine['threads']}"),
    ]
    if judge is not None:
        pairs.append(("judge", _judge_words(judge)))
    return pairs


def _judge_words(judge: Mapping[str, Any]) -> str:
    """The judge's record as far as it has one."""
    parts = [
        f"classifier of {judge['data']}" if judge.get("class_names") else f"features of {judge.get('data', 'the data')}"
    ]
    parts += [f"on each of {judge['channels']} channels"] if judge.get("channels") else []
    parts += [f"{count(judge['steps'])} steps"] if judge.get("steps") is not None else []
    if judge.get("accuracy") is not None:
        parts.append(f"accuracy {share(judge['accuracy'])} on {judge.get('accuracy_on', 'held-out data')}")
    parts += [f"temperature {number(judge['temperature'])}"] if judge.get("temperature") is not None else []
    return ", ".join([*parts, f"sha256 {judge['sha256'][:16]}"] if judge.get("sha256") else parts)


def glossary(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """How to read the page: its words, and every measurement that stands on it."""
    shown = {column.key: column for column in columns}
    rows = [row for row in METRICS if row.name in shown]
    units = {
        row.name: f" In {unit}." if (unit := shown[row.name].unit) and unit not in row.meaning else "" for row in rows
    }
    return [
        *MEANING,
        *((row.title, f"{row.meaning}{units[row.name]} {WAYS[row.better][1].capitalize()}.") for row in rows),
    ]
