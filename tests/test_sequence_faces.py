"""Runs on sequences and texts from the command line: samples, prompts, scores, evaluation and the report."""

import csv
import json
import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import pmodel
from pmodel.cli import main
from pmodel.data import from_sequences, from_text
from pmodel.data.chains import draw_chains, log_prob_of_chains
from pmodel.domain import Discrete, Real, Sequences
from pmodel.metrics.summaries import PROJECTIONS, Summaries
from pmodel.randomness import generator
from pmodel.report.figures import Gallery

BOOK = "\n\n".join(f"하나 {word} 둘" for word in ("가을", "겨울", "봄", "여름") * 10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of a text, of symbols and of points one after another; and the text."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "book.txt").write_text(BOOK)
    pmodel.fit("hmm", str(folder / "book.txt"), out=folder / "text", states=3, steps=5)
    pmodel.fit("hmm", "hmm-three", out=folder / "points", states=2, steps=3)
    return folder


@pytest.fixture
def call(trained, tmp_path, monkeypatch, capsys):
    """Run a command with RUNS standing for the folder of runs: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(words):
        with pytest.raises(SystemExit) as ended:
            main([word.replace("RUNS", str(trained)) for word in shlex.split(words)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_a_prompt_is_continued_in_print(call):
    code, out, err = call('sample RUNS/text --prompt "하나 " -n 3 --seed 1')
    texts = out.removesuffix("\n\n").split("\n\n")
    assert code == 0
    assert len(texts) == 3
    assert all(text.startswith("하나 ") for text in texts)
    assert out == call('sample RUNS/text --prompt "하나 " -n 3 --seed 1')[1]
    assert "never came up" not in err
    assert "1 characters of the prompt never came up" in call('sample RUNS/text --prompt "☃" -n 1')[2]


def test_a_prompt_that_is_continued_by_particles_is_noted(call, monkeypatch):
    assert "not exactly" not in call("sample RUNS/text --prompt 하나 -n 1")[2]
    monkeypatch.setattr("pmodel.capability.Completes._exactly", lambda self, x, observed: torch.zeros(len(x)).bool())
    assert "nearly, not exactly, its distribution given the prompt" in call("sample RUNS/text --prompt 하나 -n 1")[2]


def test_texts_are_printed_or_written_and_read_again(call):
    code, out, _ = call("sample RUNS/text")
    assert code == 0
    assert out.count("\n\n") >= 4
    assert call("sample RUNS/text -n 5 --out new.txt")[0] == 0
    model = pmodel.load_data("new.txt").domain
    assert isinstance(model, Sequences)


def test_the_alphabet_comes_with_the_run(trained):
    """Without the data: a prompt is encoded and samples are decoded by what the folder holds."""
    model = pmodel.load(trained / "text")
    assert model.domain.alphabet.tokens == "character"
    assert model.domain.texts(model.domain.check(["하나 둘"])) == ["하나 둘"]
    assert model.log_prob(["하나 가을 둘"]).isfinite().all()


def test_sequences_are_written_as_rows_and_as_arrays(call, trained):
    call("sample RUNS/points -n 5 --seed 3 --out s.csv")
    call("sample RUNS/points -n 5 --seed 3 --out s.npz")
    header, *rows = csv.reader(Path("s.csv").read_text().splitlines())
    model = pmodel.load(trained / "points")
    x = model.sample(5, generator=3)
    assert header == ["sequence", "x0", "x1"]
    lengths = model.domain.lengths(x).tolist()
    assert [sum(row[0] == str(k) for row in rows) for k in range(5)] == lengths
    assert [float(value) for value in rows[0][1:]] == pytest.approx(x[0, 0].tolist())
    with np.load("s.npz") as arrays:
        assert arrays["lengths"].tolist() == lengths
    assert pmodel.load_data("s.npz").domain == Sequences(Real((2,)), max(lengths))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sample RUNS/points", "Only texts are printed"),
        ("sample RUNS/points --out s.txt", "Only texts are written"),
        ("sample RUNS/points --out s.png", "Only images"),
        ("sample RUNS/points --prompt a --out s.csv", "Only texts have a prompt"),
        (f"sample RUNS/text --prompt {'가' * 99}", "A prompt is shorter"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, words, told):
    code, _, err = call(words)
    assert code != 0
    assert told in err


def test_a_score_is_in_bits_a_character_too(call, trained):
    code, _, err = call("score RUNS/text")
    assert code == 0
    assert "bits/character (exact" in err
    found = json.loads(call("score RUNS/text --json")[1])
    data = pmodel.load_data(trained / "book.txt")
    nats = pmodel.load(trained / "text").log_prob(data.test.x).sum()
    characters = data.domain.characters(data.test.x).sum()
    assert found["bits_per_character"] == pytest.approx(float(-nats / characters / math.log(2)))
    assert "bits" not in call("score RUNS/points")[2]


def test_a_comparison_of_models_of_text(call, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(f"하나 {word} 둘" for word in ("가을", "겨울", "봄", "여름") * 40))
    _, _, err = call(f"compare hmm:states=1 gaussian --data {tmp_path}/lines.txt --steps 3 -n 20 --out {tmp_path}/c")
    found = json.loads((tmp_path / "c" / "report.json").read_text())
    hmm, gaussian = found["models"]
    assert hmm["metrics"]["bits_per_character"]["unit"] == "bits/character"
    assert hmm["metrics"]["sliced_wasserstein"]["measure"]["extractor"] == "standardised summaries of sequences"
    assert "cannot take these data" in gaussian["error"]
    page = (tmp_path / "c" / "report.html").read_text()
    assert 'class="text">하나' in page
    assert "bits per character" in page
    (cell,) = re.findall(r"= \d\.\d+ ± [\d.]+(?=  )", err)
    headings, row, *_ = (line for line in err.splitlines() if "  " in line and "[" not in line)
    assert headings.index("bits per character") == row.index(cell)
    assert cell in page


def test_a_comparison_of_reals_has_no_bits(call, tmp_path):
    _, _, err = call(f"compare uniform --data heights --steps 3 -n 20 --out {tmp_path}/c")
    assert "place by it" in err
    assert "bits" not in err


# pictures and features


def test_curves_stop_where_sequences_do_and_have_gaps():
    data = from_sequences([[[0.0], [1.0], [2.0]], [[1.0], [float("nan")], [3.0], [2.0]]])
    drawn = str(Gallery(data.domain, data.train.x).figure(data.train.x, "two curves"))
    assert len(re.findall("<polyline", drawn)) == 3
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_symbols_are_cells():
    data = from_sequences([[0, 1, 2], [2]])
    drawn = str(Gallery(data.domain, data.train.x).figure(data.train.x, "symbols"))
    assert len(re.findall("<rect", drawn)) == 4


def test_texts_are_escaped():
    data = from_text(["<b>&"])
    assert "&lt;b&gt;&amp;" in str(Gallery(data.domain, data.train.x).figure(data.train.x, "texts"))


def test_summaries_are_what_they_say():
    domain = Sequences(Discrete((), 3), 4)
    x = domain.check([[0, 1, 0, 1], [2, 2], [1]])
    raw = Summaries(domain, x)._raw(x)
    assert raw[:, 0].tolist() == [4, 2, 1]
    shares = dict(zip(Summaries(domain, x).symbols.tolist(), raw[0, 1:4].tolist(), strict=True))
    assert shares == {0: 0.5, 1: 0.5, 2: 0.0}
    pairs = dict(zip(Summaries(domain, x).pairs.tolist(), raw[0, 4:-PROJECTIONS].tolist(), strict=True))
    assert pairs == pytest.approx({0 * 4 + 1: 2 / 3, 1 * 4 + 0: 1 / 3, 2 * 4 + 2: 0.0})


def test_summaries_of_real_sequences_see_order():
    noise = generator(0)
    x = draw_chains(400, noise)
    domain = Sequences(Real((2,)), 40)
    mixed = x.clone()
    for row, length in zip(mixed, domain.lengths(x).tolist(), strict=True):
        row[:length] = row[torch.randperm(length, generator=noise)]
    features = Summaries(domain, x)
    gap = (features(mixed) - features(x)).mean(0)
    assert gap[:3].abs().max() < 1e-6  # length and means
    assert gap[-2:].max() < -0.3
    assert log_prob_of_chains(mixed).mean() < log_prob_of_chains(x).mean() - 5


def test_missing_values_are_summarised_as_the_mean():
    domain = Sequences(Real((1,)), 3, missing=True)
    x = domain.check([[[1.0], [float("nan")], [3.0]], [[2.0], [2.0]]])
    assert Summaries(domain, x)(x).isfinite().all()


def test_only_equal_texts_have_equal_features():
    domain = Sequences(Discrete((), 2), 6)
    x = domain.check([[int(bit) for bit in f"{k:06b}"] for k in range(64)])
    features = Summaries(domain, x)(x)
    assert torch.cdist(features, features).fill_diagonal_(1.0).min() > 1e-3
