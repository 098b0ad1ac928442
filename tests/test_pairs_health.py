"""What is said of adversarial pairs that fail, each failure forced; and the last good state that a NaN in one player leaves."""

import json
import math
import time

import pytest
import torch

import pmodel
from pmodel.capability import Samples
from pmodel.construction import make
from pmodel.data import load_data
from pmodel.domain import Discrete, Real
from pmodel.errors import Diverged
from pmodel.implicit.game.pair import AdversarialPair
from pmodel.learning import Loss
from pmodel.train import Diagnosed, Rescued, Stepped, plan
from pmodel.train.checkpoint import read_checkpoint
from pmodel.train.doctor import GROWN, GROWN_STEPS, LEAST_STEPS, WINDOW, Doctor
from pmodel.train.loop import Training
from pmodel.train.state import copied
from pmodel.train.verdicts.discriminator import saturation
from pmodel.train.verdicts.modes import CHANCE, absent, missing_classes, missing_modes
from pmodel.train.verdicts.remedies import Patient

PAIR = Patient({"loss": "minimax", "penalty": 0.0, "packing": 1, "repeats": 1, "lead": 1.0})
MOMENTUM = {"betas": (0.9, 0.999), "ema": 0.0, "schedule": "constant"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def ring():
    return load_data("ring")


class Told(Samples):
    """Whatever it was told to sample."""

    natives = (Real, Discrete)

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.drawn = None

    def _sample(self, n, given, generator):
        return self.drawn(n, generator)


def examined(data, drawn, progress=1.0, steps=1000):
    """The verdicts on samples, by name, at a point of training."""
    model = Told(data.domain)
    model.drawn = drawn
    doctor = Doctor(model, data, 0)
    doctor.listen(Stepped(round(steps * progress), steps, {"generator.loss": 1.0}, 1, 1.0))
    return {verdict.name: verdict for verdict in doctor.examine()}


def at_modes(data, modes):
    """Samples at some of the modes."""
    means = data.truth.means[modes].float()
    return lambda n, g: means[torch.randint(len(means), (n,), generator=g)] + 0.1 * torch.randn(n, 2, generator=g)


# known modes


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_samples_of_the_data_lack_no_mode(name):
    """Of 200 draws at the chance of one in a thousand, for each number of samples."""
    truth = load_data(name).truth
    for n in (64, 256):
        found = [missing_modes(truth.away(truth.sample(n, seeded(k))), PAIR) for k in range(200)]
        assert sum(verdict is not None for verdict in found) <= 2


@pytest.mark.parametrize(("modes", "words"), [([0, 1, 2, 3, 4], "none at 3 of 8"), ([0, 4], "none at 6 of 8")])
def test_modes_that_are_missing_are_counted(ring, modes, words):
    found = examined(ring, at_modes(ring, modes))
    assert list(found) == ["missing modes"]
    assert words in found["missing modes"].words
    assert not found["missing modes"].fatal


def test_samples_at_one_mode_are_a_collapsed_generator(ring):
    found = examined(ring, at_modes(ring, [3]))
    assert list(found) == ["collapsed generator", "missing modes"]
    assert all(verdict.fatal for verdict in found.values())


def test_samples_that_lie_at_no_mode_are_of_no_use(ring):
    found = examined(ring, lambda n, g: 0.5 * torch.randn(n, 2, generator=g).clamp(-2, 2))
    assert found["missing modes"].fatal
    assert "none at any of 8 modes" in found["missing modes"].words


def test_a_young_model_may_lack_modes(ring):
    for progress, steps, grown in ((GROWN, 4000, True), (GROWN - 0.01, 4000, False), (1, GROWN_STEPS - 1, False)):
        assert bool(examined(ring, at_modes(ring, [0, 1, 2]), progress, steps)) == grown


def test_a_model_with_a_likelihood_is_told_by_that_what_it_leaves_out(ring):
    model = pmodel.fit("mixture", ring, components=2, seed=0)
    doctor = Doctor(model, ring, 0)
    doctor.listen(Stepped(1000, 1000, {"generator.loss": 1.0}, 1, 1.0))
    assert doctor.examine() == []


def test_data_without_known_modes_have_none_to_miss():
    moons = load_data("moons")
    assert "missing modes" not in examined(moons, lambda n, g: moons.test.x[:n])


@pytest.mark.parametrize(
    ("counts", "shares", "missing"),
    [
        ([9, 0], [0.5, 0.5], []),  # 2 · 2⁻⁹ = 0.004
        ([12, 0], [0.5, 0.5], [1]),  # 2 · 2⁻¹² = 0.0005
        ([40, 40, 0, 0], [0.45, 0.45, 0.05, 0.05], []),  # 6 · 0.9⁸⁰ = 0.0013
        ([45, 40, 0, 0], [0.45, 0.45, 0.05, 0.05], [2, 3]),  # 6 · 0.9⁸⁵ = 0.0008
        ([90, 0], [1.0, 0.0], []),  # what the data do not have either
        ([0, 0], [0.5, 0.5], []),  # no samples
    ],
)
def test_values_are_missing_if_that_is_no_chance(counts, shares, missing):
    assert absent(counts, shares, sum(counts)) == missing


@pytest.mark.parametrize(("k", "lacking"), [(8, 1), (8, 2), (25, 3)])
def test_the_bound_holds_for_draws_of_equal_shares(k, lacking):
    """By inclusion and exclusion, the probability that exactly m of K are missing among n, where the bound is met."""
    n = next(n for n in range(1, 5000) if absent([0] * lacking + [1] * (k - lacking), [1 / k] * k, n))
    exactly = math.comb(k, lacking) * sum(
        (-1) ** j * math.comb(k - lacking, j) * (1 - (lacking + j) / k) ** n for j in range(k - lacking + 1)
    )
    assert exactly <= CHANCE


# classes of a judge


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_classes_that_are_missing_are_named(digits):
    few = digits.train.x[:][digits.train.y[:] < 7]
    found = examined(digits, lambda n, g: few[torch.randperm(len(few), generator=g)[:n]])
    assert "none for '7', '8', '9'" in found["missing classes"].words
    every = examined(digits, lambda n, g: digits.train.x[torch.randperm(len(digits.train), generator=g)[:n]])
    assert "missing classes" not in every


def test_what_is_no_clear_picture_has_no_classes_to_miss(digits):
    found = examined(digits, lambda n, g: torch.randint(17, (n, 1, 8, 8), generator=g))
    assert "missing classes" not in found
    unclear = torch.full((256, 4), 0.05).index_fill_(1, torch.tensor([0]), 0.85)
    assert missing_classes(unclear, torch.eye(4).repeat(64, 1), "abcd", PAIR) is None


def test_no_judge_is_trained_for_a_verdict(monkeypatch, tmp_path):
    monkeypatch.setenv("PMODEL_CACHE", str(tmp_path))
    shapes = load_data("shapes")
    found = examined(shapes, lambda n, g: shapes.train.x[:n])
    assert "missing classes" not in found
    assert not list(tmp_path.rglob("judge*"))


def test_a_look_takes_a_fraction_of_a_second(digits):
    model = Told(digits.domain)
    model.drawn = lambda n, g: digits.train.x[:n]
    doctor = Doctor(model, digits, 0)
    stream = torch.get_rng_state()
    doctor.examine()  # the judge is read
    began = time.perf_counter()
    first = doctor.examine()
    assert time.perf_counter() - began < 2
    assert first == doctor.examine()
    assert torch.equal(torch.get_rng_state(), stream)


# the discriminator


def test_what_saturates_is_said_with_what_the_game_makes_of_it():
    reports = [{"d.loss": 1e-3}] * WINDOW
    minimax = saturation("d", reports, WINDOW, PAIR)
    other = saturation("d", reports, WINDOW, Patient({**PAIR.options, "loss": "relativistic"}))
    assert "in the minimax game the generator's gradient" in minimax.words
    assert "minimax" not in other.words
    assert "loss=relativistic" in minimax.remedy
    assert "loss=relativistic" not in other.remedy  # it plays that game already
    assert saturation("d", reports[1:], WINDOW, PAIR) is None
    assert saturation("d", [*reports[1:], {"d.loss": 0.2}], WINDOW, PAIR) is None


def test_the_discriminator_s_loss_bounds_what_is_left_of_the_minimax_generator_s_gradient():
    """σ(l) <= -log(1 - σ(l)) for every logit."""
    logit = torch.linspace(-30, 30, 601, dtype=torch.float64)
    assert bool((logit.sigmoid() <= torch.nn.functional.softplus(logit)).all())


def heard_of(data, **settings):
    """The verdicts of a run by name, with the steps at which they were told."""
    heard = {}

    def hear(event):
        if isinstance(event, Diagnosed):
            heard.setdefault(event.diagnosis.name, []).append(event.step)

    pmodel.fit("gan", data, size="small", precision="float32", on_event=hear, **settings)
    return heard


def test_a_discriminator_that_wins_is_told_live(ring):
    """It learns at a hundred times the rate of its generator."""
    fast = {"loss": "minimax", "penalty": 0.0, "lead": 100.0}
    heard = heard_of(ring, steps=200, settings={**MOMENTUM, "rate": 2e-5}, **fast)
    assert min(heard["saturated discriminator"]) < 200


def test_modes_that_are_lost_are_told_live(ring):
    """By the game of 2014 with Adam's momentum."""
    heard = heard_of(ring, steps=2 * GROWN_STEPS, loss="minimax", penalty=0.0, settings={**MOMENTUM, "rate": 1e-2})
    assert heard["missing modes"][0] == GROWN_STEPS


def test_the_default_game_is_left_in_peace(ring):
    assert heard_of(ring, steps=1200) == {}


def test_what_was_heard_survives_its_record(ring):
    doctor = Doctor(make("gan", ring.domain, latent=2, width=8, layers=1), ring, 0)
    doctor.listen(Stepped(LEAST_STEPS, 1000, {"generator.loss": 1.0}, 1, 1.0))
    other = Doctor(doctor.model, ring, 0)
    other.recall(json.loads(json.dumps(doctor.memory())))
    assert (other.step, other.progress) == (LEAST_STEPS, LEAST_STEPS / 1000)


# a NaN in one player

GOOD = 20
"""Steps before the fault."""


def spoiled(monkeypatch, player, what):
    """Let a player's loss, or only its gradient, be NaN once ``spoiled`` is told to; returns what is to be told."""
    name = f"_{player}_loss"
    original, on = getattr(AdversarialPair, name), []

    def loss(self, batch, generator):
        found = original(self, batch, generator)
        if not on:
            return found
        zero = 0 * sum(parameter.sum() for parameter in getattr(self, player).parameters())
        return Loss(found.total + (math.nan * zero if what == "loss" else zero.abs().sqrt()), found.parts)

    monkeypatch.setattr(AdversarialPair, name, loss)
    return on


def good_state(data, out_of):
    """The state after so many steps of the run that was not spoiled."""
    model = make("gan", data.domain, seed=0, **out_of)
    training = Training(model, data, plan(model, data, steps=2 * GOOD, seed=0, precision="float32"))
    for event in training:
        if isinstance(event, Stepped) and event.step == GOOD:
            return copied(training.state())
    raise AssertionError


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_a_nan_in_one_player_leaves_the_last_good_state(ring, tmp_path, monkeypatch, player, what):
    options = {"latent": 4, "layers": 2, "width": 16}
    good = good_state(ring, options)
    on = spoiled(monkeypatch, player, what)

    def spoil(event):
        if isinstance(event, Stepped) and event.step == GOOD:
            on.append(True)

    run = tmp_path / "run"
    fixed = {"steps": 2 * GOOD, "precision": "float32", "save_every": 0, "logs": ()}
    with pytest.raises(Diverged) as caught:
        pmodel.fit("gan", ring, out=run, seed=0, on_event=spoil, **fixed, **options)
    message = str(caught.value)
    if what == "loss":
        assert f"The loss of phase {player!r} is not finite at step {GOOD}" in message
    else:
        assert f"the parameter 'model.{player}." in message
        assert f"An update of phase {player!r} broke it" in message
    assert "--set train.rate" in message
    state, _ = read_checkpoint(run)
    assert state.position["step"] == GOOD
    for mine, theirs in ((state.model, good.model), (state.training, good.training)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    kinds = {name.partition(".")[0] for name in state.training}
    assert {"raw", "moments"} <= kinds  # of both players, beside the moving average, which is the model
    players = {name.split(".")[1] for name in state.training if name.startswith("moments.")}
    assert players == {"discriminator", "generator"}
    assert bool(pmodel.load(run).sample(5, generator=0).isfinite().all())


def test_a_nan_that_comes_once_is_rescued(ring, monkeypatch):
    on = spoiled(monkeypatch, "generator", "loss")
    events = []

    def spoil(event):
        events.append(event)
        on[:] = [True] if isinstance(event, Stepped) and event.step == GOOD and not any(on) and not rescued() else []

    def rescued():
        return [event for event in events if isinstance(event, Rescued)]

    options = {"latent": 4, "layers": 2, "width": 16}
    model = pmodel.fit("gan", ring, steps=2 * GOOD, settings={"retry": 1}, on_event=spoil, **options)
    assert len(rescued()) == 1
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
