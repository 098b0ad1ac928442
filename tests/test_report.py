"""The page: complete, self-contained, and nothing in a name is ever markup."""

import functools
import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pmodel.comparison import compare
from pmodel.data import from_arrays, load_data
from pmodel.data.dataset import Dataset, Split
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.evaluation import evaluate
from pmodel.metrics import judge_for
from pmodel.report import numbers
from pmodel.report.curves import chart, curves
from pmodel.report.figures import Gallery
from pmodel.report.markup import Markup, element, joined
from pmodel.report.samples import evolution
from reports import HOSTILE, SHOWN, is_safe


@pytest.fixture(scope="module")
def hostile():
    rows = torch.rand(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[:, 1] = (rows[:, 1] * 2).floor()
    columns = (Column(HOSTILE), Column("kind", "category", categories=(HOSTILE, "b")), Column("real"))
    split = Split(rows)
    return Dataset(HOSTILE, Table(columns), split, split, split, note=HOSTILE, parent=HOSTILE, source=HOSTILE)


def test_names_in_the_data_are_text(hostile, tmp_path):
    compare(["gaussian", "dcgan"], hostile, out=tmp_path, n=50)
    page = is_safe((tmp_path / "report.html").read_text())
    assert "".join(page.text).count(SHOWN) >= 6


def test_names_in_a_run_are_text(hostile, tmp_path):
    compare(["gaussian"], hostile, out=tmp_path, n=50)
    run = tmp_path / "runs/gaussian-s0"
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"name": HOSTILE, "options": {HOSTILE: HOSTILE}}))
    log = {"event": "stepped", "seconds": 1, "losses": {HOSTILE: 1}}
    (run / "events.jsonl").write_text("\n".join(map(json.dumps, [log, log | {"seconds": 2}, [], 3])) + "\nnot json")
    evaluate(run, hostile, n=50)
    page = is_safe((run / "report.html").read_text())
    assert "".join(page.text).count(SHOWN) >= 8


def test_label_names_are_text(tmp_path, monkeypatch):
    digits = load_data("digits")
    named = replace(digits, label_names=(HOSTILE, *digits.label_names[1:]), name="d", parent="d")
    monkeypatch.setattr("pmodel.evaluation.bench.judge_for", functools.partial(judge_for, steps=400))
    compare(["uniform"], named, out=tmp_path / "out", n=300, judges=tmp_path / "judges")
    assert SHOWN in "".join(is_safe((tmp_path / "out/report.html").read_text()).text)


def test_the_numbers_on_the_page_are_those_of_the_report(tmp_path):
    g = torch.Generator().manual_seed(0)
    data = from_arrays(torch.randn(600, 2, generator=g).numpy(), name="points")
    report = compare(["gaussian", "uniform"], data, out=tmp_path, n=50).report
    text = "".join(is_safe((tmp_path / "report.html").read_text()).text)
    for model in report["models"]:
        assert numbers.likelihood(model["likelihood"]) in text
        assert numbers.metric(model["metrics"]["fid"]) in text
    assert "By likelihood, gaussian is first of 2." in text
    assert report["commands"][0] in text
    assert text.count("real data") >= 2


def test_markup_escapes_whatever_is_not_markup():
    assert element("p", "<b>", element("i", "x"), title='"') == '<p title="&quot;">&lt;b&gt;<i>x</i></p>'
    assert isinstance(joined("<", Markup("<br>")), Markup)
    assert joined("<", Markup("<br>"), None) == "&lt;<br>"


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (-89.1234, 0.42, "−89.12"),
        (1234567.0, None, "1 234 567"),
        (0.0123456, None, "0.01235"),
        (123.456, 12.0, "123"),
        (0.0, None, "0"),
        (float("inf"), None, "∞"),
        (float("nan"), None, "–"),
    ],
)
def test_numbers_show_the_digits_that_their_error_allows(value, stderr, text):
    assert numbers.number(value, stderr).replace("\N{THIN SPACE}", " ") == text


def test_a_likelihood_shows_its_kind_and_a_cost_the_reverse():
    written = {"value": -89.0, "kind": "lower_bound", "unit": "nats", "stderr": 0.5, "n": 10, "impossible": 0}
    assert numbers.likelihood(written) == "≥ −89.00 ± 0.50"
    assert numbers.likelihood(written | {"unit": "bits/dim", "value": 1.5}) == "≤ 1.50 ± 0.50"
    assert numbers.likelihood(written | {"kind": "estimate"}).startswith("≈")
    assert numbers.likelihood(written | {"impossible": 3, "value": None}) == "impossible: 3 of 10"
    assert numbers.likelihood(None) == "none"
    assert numbers.likelihood(written | {"kind": "exact", "stderr": 1e-15}) == "= −89.00"


def test_places_say_when_nothing_is_decided():
    assert numbers.place({"best": 1, "worst": 1}, 3) == "place 1 of 3"
    assert numbers.place({"best": 1, "worst": 3}, 3) == "place 1–3 of 3"
    assert numbers.place({"best": 1, "worst": 1}, 1) == numbers.place(None, 3) == ""


TABLE = Table(
    (Column("a", missing=True), Column("b", "stepped", step=0.5), Column("c", "category", categories=("u", "v")))
)


@pytest.mark.parametrize(
    ("domain", "x", "holds"),
    [
        (Discrete((1, 8, 8), 17), torch.randint(0, 17, (70, 1, 8, 8)), 'class="grid"'),
        (Discrete((3, 32, 32), 256), torch.randint(0, 256, (9, 3, 32, 32)), 'class="grid"'),
        (Real((2,)), torch.randn(50, 2), 'class="plane"'),
        (Discrete((1,), 6), torch.randint(0, 6, (50, 1)), 'class="bars"'),
        (Discrete((2,), 2), torch.randint(0, 2, (50, 2)), ">10</text>"),
        (Real((1,)), torch.randn(50, 1), 'class="bars"'),
        (Real((12,)), torch.randn(50, 12), "… 4 more"),
        (TABLE, torch.tensor([[float("nan"), 1.5, 1]], dtype=torch.float64), "<td>missing</td><td>1.5</td><td>v</td>"),
    ],
)
def test_every_kind_of_data_has_a_picture(domain, x, holds):
    assert holds in Gallery(domain, x).figure(x, "samples")


def test_points_outside_the_picture_are_counted():
    real = torch.randn(50, 2)
    assert "1 of 2 points lie outside" in Gallery(Real((2,)), real).figure(torch.tensor([[0.0, 0], [99, 0]]), "samples")


def test_constant_curves_and_single_points_can_be_drawn(tmp_path):
    assert "polyline" in chart({"loss": [(0.0, 1.0), (0.0, 1.0)]}, "a")
    assert "polyline" in chart({"loss": [(0.0, 0.0), (1.0, 0.0)]}, "a")
    (tmp_path / "events.jsonl").write_text(
        '{"seconds": 1, "losses": {"a": 1.0}}\n{"seconds": 2, "losses": {"b": NaN}}\n'
    )
    assert curves(tmp_path) == {}
    assert curves(tmp_path / "nowhere") == {}


def test_curves_go_on_through_the_stages_of_a_phase(tmp_path):
    (tmp_path / "events.jsonl").write_text(
        '{"seconds": 1, "losses": {"judge small.loss": 1.0}}\n{"seconds": 2, "losses": {"judge large.loss": 0.5}}\n'
    )
    assert curves(tmp_path) == {"judge.loss": [(1.0, 1.0), (2.0, 0.5)]}


def test_the_verdicts_of_the_doctor_stand_on_the_page(tmp_path):
    compare(["vae:beta=1000", "gaussian"], load_data("digits"), out=tmp_path, size="tiny", steps=120, n=50)
    report = json.loads((tmp_path / "report.json").read_text())
    sick, healthy = report["models"]
    assert healthy["health"] == []
    assert sick["health"][0].startswith("posterior collapse, of no use as it is: None of the 2 units")
    text = " ".join("".join(is_safe((tmp_path / "report.html").read_text()).text).split())
    assert "Of no use as trained here: vae:beta=1000" in text
    assert "Before you trust a number" in text
    assert "What to do: lower the weight of the KL" in text


def test_a_comparison_of_failures_has_a_page_that_says_why(tmp_path):
    found = compare(["gaussian:size=tiny", "mixture:size=small"], load_data("digits"), out=tmp_path, n=50)
    page = is_safe(found.page.read_text())
    assert "".join(page.text).count("comes in one size") == 2
    assert page.tags.count("table") == 1


def test_samples_stand_over_their_nearest_training_data(tmp_path):
    digits = load_data("digits")
    x = digits.train.x[:12]
    drawn = Gallery(digits.domain, digits.test.x)
    pairs = drawn.pairs(x, x[:10].flip(0), "samples")
    assert pairs.count("<img") == 10
    assert 'width="64" height="136"' in pairs
    assert Gallery(Real((2,)), torch.randn(50, 2)).pairs(torch.randn(3, 2), torch.randn(3, 2), "samples") is None
    rows = torch.tensor([[float("nan"), 1.5, 1], [0.25, 2.0, 0]], dtype=torch.float64)
    table = Gallery(TABLE, rows).pairs(rows, rows.flip(0), "samples")
    assert re.findall(r"<td>(sample|nearest)</td>", table) == ["sample", "nearest"] * 2


def test_pictures_left_by_training_are_shown_and_no_other_files(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in ("0250.png", "1000.png"):
        Image.new("L", (55, 55)).save(tmp_path / "samples" / name)
    (tmp_path / "samples/0500.png").write_bytes(b"no picture")
    (tmp_path / "samples/cover.png").write_bytes((tmp_path / "samples/1000.png").read_bytes())
    first, last = evolution(tmp_path)
    assert "after 25 %" in first
    assert "after 100 %" in last
    assert 'width="330"' in first
    (tmp_path / "samples/0250.png").unlink()
    assert evolution(tmp_path) == []


def test_a_verdict_does_not_hide_that_there_is_no_density(tmp_path):
    digits = load_data("digits")
    game = "loss=nonsaturating,penalty=0,latent=1,channels=2,width=1"
    compare(
        [f"dcgan:{game},train.rate=0.05,train.betas=0.9,0.99,train.batch=64"],
        digits,
        out=tmp_path,
        size="tiny",
        steps=150,
        n=50,
    )
    text = "".join(is_safe((tmp_path / "report.html").read_text()).text)
    assert "collapsed generator" in text
    assert "it has no density" in text


def test_a_hostile_verdict_is_text(tmp_path):
    g = torch.Generator().manual_seed(0)
    data = from_arrays(torch.randn(600, 2, generator=g).numpy(), name="points")
    compare(["gaussian"], data, out=tmp_path, n=50)
    run = tmp_path / "runs/gaussian-s0"
    record = json.loads((run / "run.json").read_text())
    verdict = {"name": HOSTILE, "words": HOSTILE, "remedy": HOSTILE, "fatal": HOSTILE}
    (run / "run.json").write_text(json.dumps(record | {"health": [verdict, 3, {}]}))
    evaluate(run, data, n=50)
    assert "".join(is_safe((run / "report.html").read_text()).text).count(SHOWN) >= 3
