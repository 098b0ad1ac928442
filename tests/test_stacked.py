"""Pictures of three independent digits: what they are made of, how they are judged, and how many modes samples have."""

import itertools

import pytest
import torch

import pmodel
from pmodel.data import load_data, stacked
from pmodel.data.named import NAMED
from pmodel.data.stacked import modes_of
from pmodel.domain import Discrete
from pmodel.errors import DataError
from pmodel.evaluation import Bench
from pmodel.evaluation.bench import _verdicts
from pmodel.metrics.channels import ChannelJudge
from pmodel.metrics.judge import judge_for
from pmodel.metrics.modes import class_modes
from pmodel.report.columns import columns

here = pytest.mark.skipif(not NAMED["stacked-mnist"].offline, reason="mnist is not on this machine")
SIZES = (600, 100, 400)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def data(digits):
    return stacked(digits, SIZES)


@pytest.fixture(scope="module")
def judge(data, tmp_path_factory):
    return judge_for(data, tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def bench(data):
    return Bench(data, n=150)


def test_what_a_stack_is(data):
    assert data.domain == Discrete((3, 8, 8), 17)
    assert tuple(len(split) for split in data.splits.values()) == SIZES
    assert data.given == Discrete((), 1000)
    assert data.label_names[42] == "042"
    assert data.train.x.dtype == torch.uint8
    hundreds = data.train.factors @ torch.tensor([100.0, 10.0, 1.0], dtype=torch.float64)
    assert torch.equal(data.train.y, hundreds.long())


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_each_channel_is_a_picture_of_its_own_split(data, digits, name):
    """And so none of its digits is in another split."""
    whole, split = digits.split(name), data.split(name)
    known = {bytes(x.numpy()): int(y) for x, y in zip(whole.x, whole.y, strict=True)}
    for x, factors in zip(split.x, split.factors.long(), strict=True):
        assert [known[bytes(channel.numpy())] for channel in x] == factors.tolist()


def test_channels_are_drawn_independently(data):
    """The correlation of independent labels is below 4.5 standard deviations."""
    correlations = torch.corrcoef(data.train.factors.T)
    for a, b in itertools.combinations(range(3), 2):
        assert abs(float(correlations[a, b])) < 4.5 / len(data.train) ** 0.5


def test_another_seed_draws_others(data, digits):
    assert stacked(digits, SIZES).hash == data.hash != stacked(digits, SIZES, seed=1).hash


def test_the_shares_of_modes_are_products_of_those_of_digits(data, digits):
    p = torch.bincount(digits.train.y).double() / len(digits.train)
    assert float(data.shares[386]) == pytest.approx(float(p[3] * p[8] * p[6]))
    assert float(data.shares.sum()) == pytest.approx(1)


def test_a_view_of_some_modes_has_no_known_shares(data):
    assert data.only("042,043").shares is None
    assert data.by("green").shares is data.shares
    assert data.by("green").given == Discrete((), 10)


def test_only_grey_pictures_with_labels_are_stacked(data):
    for other in (data, load_data("moons"), load_data("tins")):
        with pytest.raises(DataError, match="grey pictures with labels"):
            stacked(other, SIZES)


def test_a_channel_judge_is_the_judge_of_each_channel(data, digits, judge):
    one = judge_for(digits, "unused")
    assert isinstance(judge, ChannelJudge)
    features, parts = judge(data.test.x[:40]), [one(data.test.x[:40, k, None]) for k in range(3)]
    assert torch.equal(features, torch.cat(parts, 1))
    p, (a, b, c) = judge.classified(features), [one.classified(part) for part in parts]
    assert torch.allclose(p[:, 386], a[:, 3] * b[:, 8] * c[:, 6])
    assert torch.allclose(p.sum(1), torch.ones(40, dtype=torch.float64))
    assert (p.argmax(1) == data.test.y[:40]).double().mean() > 0.9
    assert torch.allclose(judge.placed(features).square().sum(1), torch.full((40,), 3.0, dtype=torch.float64))


def test_a_channel_judge_says_whose_it_is(data, digits, judge):
    one = judge_for(digits, "unused")
    assert judge.class_names == data.label_names == modes_of(digits.label_names, 3)
    assert judge.name == f"{one.name}, on each of 3 channels"
    assert judge.record == {**one.record, "channels": 3}


def test_the_judge_is_kept_as_that_of_one_channel(data, digits, bench, tmp_path):
    bench.keep_judge(tmp_path)
    path = tmp_path / "judge.safetensors"
    assert Bench(digits, n=60, judge=path).extractor.record["data"] == "digits"
    assert Bench(data, n=150, judge=path).protocol == bench.protocol


def test_real_data_have_the_modes_that_are_expected(data, bench):
    found = bench.fidelity(data.test.x[:150])
    modes = found["mode_shares"]
    assert modes["modes"] == 1000
    assert abs(modes["found"] - modes["expected"]) < 20
    assert abs(modes["value"] - modes["floor"]) < 5 * (modes["stderr"] ** 2 + modes["floor_stderr"] ** 2) ** 0.5
    assert modes["held_out"] == pytest.approx(modes["floor"], abs=0.2)
    assert found["judge"]["value"] > 0.8


def test_a_model_of_one_mode_is_found_out(data, bench):
    x = data.test.x[data.test.y == data.test.y.mode().values]
    found = bench.fidelity(x.repeat(150, 1, 1, 1)[:150])["mode_shares"]
    assert found["found"] <= 3
    assert found["value"] > found["floor"] + 1


def test_an_evaluation_and_its_table_say_how_many_modes_there_are(data, bench):
    model = pmodel.fit("gaussian", data, conditional=False)
    found = bench.evaluate(model)
    written = found.metrics["mode_shares"]
    assert 0 < written["found"] <= 150
    row = {"metrics": found.metrics, "place": {}, "speed": {}, "likelihood": None, "parameters": None, "health": []}
    cell = next(column for column in columns([row]) if column.key == "mode_shares").cell(row)
    assert cell.subs[-1] == f"{written['found']} of 1\N{THIN SPACE}000 modes; as many data: {written['expected']:.0f}"


def test_models_learn_them_by_mode(data):
    model = pmodel.fit("dcgan", data, size="tiny", steps=2, conditional=True)
    assert model.sample(3, given=torch.tensor([0, 42, 999]), generator=0).shape == (3, 3, 8, 8)


@pytest.mark.parametrize(("missing", "end"), [(3, "000, 001, 002"), (20, "018, 019"), (905, "019 and 885 others")])
def test_a_verdict_names_only_some_of_many_missing_modes(data, missing, end):
    (verdict,) = _verdicts(None, {"judge": {"missing": list(data.label_names[:missing])}})
    assert verdict.startswith("classes without a clear sample: 000, 001, 002")
    assert verdict.endswith(end)


@pytest.mark.parametrize(("found", "said"), [(863, False), (780, False), (776, True), (1, True)])
def test_a_verdict_says_that_modes_are_lacking(found, said):
    verdicts = _verdicts(None, {"mode_shares": {"value": 1.0, "found": found, "expected": 862.6, "modes": 1000}})
    assert verdicts == ([f"samples of {found} of 1000 modes, where real data have 863"] if said else [])


@here
def test_stacked_mnist_is_of_the_usual_sizes():
    data, mnist = load_data("stacked-mnist"), load_data("mnist")
    assert data.domain == Discrete((3, 28, 28), 256)
    assert data.hash == "de08e3a8bb01048e2e6352d59633987fe409b023bf8f3f223d7f4c47a88ee1d2"
    assert len(data.train.y.unique()) == 1000
    assert isinstance(judge_for(data, "unused"), ChannelJudge)
    row = data.test.factors[0].long()
    pictures = mnist.test.x[mnist.test.y == row[0], 0]
    assert bool((pictures == data.test.x[0, 0]).flatten(1).all(1).any())


@here
def test_the_floor_of_stacked_mnist_is_that_of_theory():
    """Of 5 000 real pictures with K = 1000 modes the plain divergence is about (K - 1) / 2N = .1, beside the judge's errors."""
    data = load_data("stacked-mnist")
    x, y = data.test.x[:5000], data.test.y[:5000]
    p = judge_for(data, "unused").probabilities(x)
    assert float((p.argmax(1) == y).double().mean()) > 0.98
    found = class_modes(p, data.shares)
    assert found.plain == pytest.approx(999 / 10_000, rel=0.2)
    assert abs(found.value) < 5 * found.stderr
    assert abs(found.found - found.expected) <= 10
