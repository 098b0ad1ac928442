"""The parts of the page: citations, axes, names on charts, curves, commands."""

import itertools
import json
import re
from pathlib import Path

import pytest
import torch

from pmodel import catalogue
from pmodel.data import from_arrays
from pmodel.metrics.catalogue import METRICS
from pmodel.report import commands
from pmodel.report.axes import Scale, amounts, plain, times
from pmodel.report.citations import MODEL_SOURCES, entries, entry
from pmodel.report.curves import validation
from pmodel.report.labels import Box, placed, width
from pmodel.report.scatter import Point, scatter
from pmodel.report.sections import learning

ROOT = Path(__file__).parents[1]


ENTRY = re.compile(r"@(\w+)\{([\w]+),\n((?:  \w+ *= \{.*\},\n)+)\}")


@pytest.mark.parametrize("key", entries())
def test_every_entry_is_whole(key):
    found = ENTRY.fullmatch(entry(key))
    assert found
    assert found[2] == key
    fields = dict(re.findall(r"^  (\w+) *= \{(.*)\},$", found[3], flags=re.MULTILINE))
    assert {"author", "title", "year"} <= set(fields)
    assert all(value.count("{") == value.count("}") for value in fields.values())
    assert {"booktitle", "journal", "publisher", "version"} & set(fields)
    assert key == "pmodel" or key.endswith(fields["year"])


def test_every_source_has_an_entry():
    assert {row.source for row in METRICS if row.source} <= set(entries())
    assert set(MODEL_SOURCES.values()) <= set(entries())
    assert {row.name for row in catalogue.MODELS} == set(MODEL_SOURCES)


@pytest.mark.parametrize("row", catalogue.MODELS, ids=lambda row: row.name)
def test_a_models_entry_is_of_its_paper(row):
    """The address in the catalogue is that of the entry, where it has one."""
    text = entry(MODEL_SOURCES[row.name])
    where = re.search(r"arxiv\.org/abs/(.+)|doi\.org/(.+)", row.paper)
    assert where is None or f"{{{where[1] or where[2]}}}" in text


def test_pmodels_own_entry_is_that_of_its_citation_file():
    cited = dict(re.findall(r'^([\w-]+): "?(.*?)"?$', (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE))
    for value in (cited["title"], cited["version"], cited["date-released"][:4]):
        assert f"{{{value}}}" in entry("pmodel")
    assert re.search(r'name: "(.*)"', (ROOT / "CITATION.cff").read_text())[1] in entry("pmodel")


def test_a_model_of_another_package_is_cited_by_its_page(monkeypatch):
    row = catalogue.Row(
        **{**catalogue.MODELS[0].to_json(), "name": "my-model", "line": "a {brace}", "paper": "https://x.example"}
    )
    monkeypatch.setattr("pmodel.report.citations.models", lambda: (row,))
    assert entry("my-model").startswith("@misc{mymodel1812,")
    assert "a brace" in entry("my-model")
    assert entry("unknown") == ""


@pytest.mark.parametrize(
    ("low", "high", "name", "log", "expected"),
    [
        (0.0, 10.0, plain, False, ["0", "2", "4", "6", "8", "10"]),
        (-101.5, -101.3, plain, False, ["−101.50", "−101.45", "−101.40", "−101.35", "−101.30"]),
        (1.0, 5000.0, amounts, True, ["1", "10", "100", "1 k"]),
        (0.005, 7200.0, times, True, ["10 ms", "100 ms", "1 s", "10 s", "1 min", "10 min", "1 h"]),
        (2.0, 6.0, times, True, ["2 s", "5 s"]),
    ],
)
def test_ticks_are_round(low, high, name, log, expected):
    found = [text.replace("\N{THIN SPACE}", " ") for _, text in Scale(low, high, 0, 100, log, name).ticks()]
    assert found == expected


ROUNDED = [-2.8787622994501940, -2.8787622994501936]
"""One value, but for the last bit."""


@pytest.mark.parametrize("values", [[1.0], [0.0], [-3.0, -3.0], [1e-9, 1e9], [0.0, 1e-12], [5.0, 5.0 + 1e-9], ROUNDED])
def test_every_scale_holds_its_values_and_names_no_two_ticks_alike(values):
    scale = Scale.of(values, 0, 100)
    assert all(0 <= scale(value) <= 100 for value in values)
    assert scale(scale.low) == 0
    assert scale(scale.high) == 100
    names = [name for _, name in scale.ticks()]
    assert len(set(names)) == len(names) <= 7


@pytest.mark.parametrize("high", [0.52, 0.55, 0.6, 1.1, 9.9, 55.0, 599.0, 3500.0, 36e3])
@pytest.mark.parametrize("end", [100.0, 342.0])
def test_no_name_of_a_time_lies_on_the_next_or_beyond_the_picture(high, end):
    ticks = Scale(0.0, high, 50.0, end, name=times).apart(end + 8)
    spans = [(at - width(name) / 2, at + width(name) / 2) for at, name in ticks if name]
    assert spans
    assert all(a < b for (_, a), (b, _) in itertools.pairwise(spans))
    assert spans[0][0] > 0
    assert spans[-1][1] < end + 8


FRAME = Box(0, 0, 440, 300)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [400.0, 60.0, 1.0])
def test_names_never_lie_on_each_other_or_on_points(seed, spread):
    g = torch.Generator().manual_seed(seed)
    points = [(20 + spread * x, 100 + min(spread, 150) * y) for x, y in torch.rand(12, 2, generator=g).tolist()]
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    names = [f"model-{k}:layers={k}" for k in range(12)]
    labels = placed(points, names, taken, FRAME)
    boxes = [label.box for label in labels if label]
    assert len(boxes) >= 10
    assert not any(a.meets(b) for a, b in itertools.combinations(boxes, 2))
    assert not any(box.meets(point) for box in boxes for point in taken)
    assert all(box.within(FRAME) and box.right - box.left >= width("model-1:layers=1") - 1 for box in boxes)


def test_a_name_without_room_is_left_out():
    assert placed([(5.0, 5.0)], ["a very long name"], [], Box(0, 0, 20, 20)) == [None]


def test_a_chart_shows_every_point_its_error_and_the_floor():
    points = [
        Point("a", 1.0, 10.0, 0.5, False, "a: 10"),
        Point("b", 900.0, 12.0, None, True, "b: 12"),
        Point("c", 30.0, 300.0, 4.0, False, "c: 300"),
    ]
    drawn = scatter(points, ("floor", 2.0), "title", "training time", times)
    assert drawn.count("<circle") == 2
    assert drawn.count("<path") == 1  # the bound
    assert drawn.count('class="error"') == 2
    assert "floor 2.000" in drawn
    assert "1 min" in drawn
    assert all(f">{p.name}</text>" in drawn for p in points)


def test_one_constant_value_is_a_chart_too():
    assert "<circle" in scatter([Point("a", 0.5, 0.0, 0.0, False, "")] * 2, None, "title", "time", times)


def test_the_held_out_curve_is_that_of_the_log(tmp_path):
    lines = [
        {"event": "validated", "seconds": 1.0, "value": -3.0},
        {"event": "validated", "seconds": 2.0, "value": None},
        {"event": "stepped", "seconds": 2.5, "losses": [1]},
        {"event": "validated", "seconds": 3.0, "value": -1.0},
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert validation(tmp_path) == [(1.0, -3.0), (3.0, -1.0)]
    assert validation(tmp_path, distance=True) == []


def test_distances_and_likelihoods_have_charts_of_their_own(tmp_path):
    for name, kind, values in (
        ("likely", "exact", (-3.0, -2.0)),
        ("far", "distance", (0.5, 0.25)),
        ("brief", "distance", (0.5,)),
    ):
        lines = [{"event": "validated", "seconds": k, "value": v, "kind": kind} for k, v in enumerate(values)]
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.jsonl").write_text("\n".join(map(json.dumps, lines)))
    models = [{"label": name, "run": name} for name in ("likely", "far", "brief")]
    *_, gallery = learning(tmp_path, models)
    first, second = str(gallery).split("<figure")[1:]
    assert "held-out log-likelihood" in first
    assert "nats per datum" in first
    assert "likely" in first
    assert "distance of samples from held-out data" in second
    assert "far" in second
    assert "nats" not in second
    assert "brief" not in str(gallery)


def test_the_command_of_a_run_names_it_as_it_was_given():
    data = from_arrays(torch.zeros(9, 2).numpy(), name="mine")
    asked = {
        "name": "vae",
        "options": {"latent": 2},
        "settings": {"batch": 64},
        "seed": 3,
        "steps": 10,
        "conditional": True,
    }
    record = {"asked": asked, "data": {"source": "my data.csv", "hash": data.hash, "options": {"label": "kind"}}}
    assert commands.evaluating(Path("runs/my vae"), data, record, 500) == "pmodel evaluate 'runs/my vae' -n 500"
    assert commands.evaluating(Path("runs/a"), data, {}, 2000) == "pmodel evaluate runs/a --data mine"
    assert commands.fitting(record) == (
        "pmodel fit vae --data 'my data.csv' --set data.label=kind --steps 10 --seed 3 --set latent=2 --set train.batch=64 "
        "--set conditional=true --out again"
    )
    assert commands.fitting({}) is None
    shared = {"budget": None, "steps": 5, "size": "base", "precision": "auto", "device": "auto"}
    seen = commands.comparing(data, shared, ["vae"], [0], 2000, {"kind": "inception"})
    assert seen == "pmodel compare vae --data mine --steps 5 --judge inception --out comparison"
    assert commands.fitting({"asked": asked, "data": {"source": ""}}) is None
