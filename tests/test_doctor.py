"""The doctor: every failure forced on a real model is named with its cause and remedy, and healthy runs are left in peace."""

import errno
import os
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import pmodel
from pmodel import catalogue
from pmodel.capability import Samples, Variational
from pmodel.cli import main
from pmodel.construction import make
from pmodel.data import Dataset, Split, load_data
from pmodel.distribution import Categorical, Normal
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.errors import Diverged, RunError
from pmodel.learning import Batch, GradientTrained, Loss, Phase
from pmodel.storage import read_json
from pmodel.train import Diagnosed, Diagnosis, Rescued, Stepped, plan
from pmodel.train.doctor import EXPLODED, LEAST_STEPS, WINDOW, Doctor
from pmodel.train.explanation import explain
from pmodel.train.neighbours import Columns, copied, differ, nearest
from pmodel.train.verdicts.chains import diverging
from pmodel.train.verdicts.codes import dead_codes, levels_of, silent_codes
from pmodel.train.verdicts.discriminator import saturation
from pmodel.train.verdicts.posterior import posterior_collapse, silent_layers
from pmodel.train.verdicts.remedies import Patient

VAE_OPTIONS = ("beta", "warmup", "free_bits", "ladder")
COLLAPSING = {"rate": 0.1, "betas": [0.9, 0.99]}


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def clouds():
    """Three clouds in four dimensions, with validation data of their own."""
    centres = 4 * torch.randn(3, 4, generator=noise(1))
    x = centres.repeat(200, 1) + torch.randn(600, 4, generator=noise(2))
    return Dataset("clouds", Real((4,)), Split(x[:360]), Split(x[360:480]), Split(x[480:]))


def fitted(name, data, out=None, **settings):
    """The verdicts of a run, in order, and the model."""
    heard = []
    model = pmodel.fit(
        name,
        data,
        out=out,
        logs=(),
        on_event=lambda e: heard.append(e) if isinstance(e, Diagnosed) else None,
        **settings,
    )
    return heard, model


def verdicts(heard):
    """Those of the last examination, by name."""
    last = max((found.step for found in heard), default=0)
    return {found.diagnosis.name: found.diagnosis for found in heard if found.step == last}


# healthy runs


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vae", {"size": "tiny", "steps": 200}),
        ("vae", {"size": "small", "steps": 200}),
        ("vae", {"size": "small", "steps": 200, "conditional": True}),
        ("vae", {"size": "small", "steps": 200, "flow": 2}),
        ("dcgan", {"size": "tiny", "steps": 200}),
        ("dcgan", {"size": "small", "steps": 200}),
        ("mixture", {"components": 20}),
        ("gaussian", {}),
        ("histogram", {}),
        ("uniform", {}),
    ],
)
def test_a_healthy_run_is_left_in_peace(name, settings, digits):
    assert fitted(name, digits, **settings)[0] == []


@pytest.mark.parametrize("data", ["moons", "heights", "dice", "bits"])
@pytest.mark.parametrize("name", ["mixture", "histogram", "gaussian"])
def test_small_and_simple_data_raise_no_alarm(name, data):
    loaded = load_data(data)
    assert fitted(name, loaded)[0] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "dcgan", "mixture"])
def test_a_healthy_run_on_mnist_is_left_in_peace(name):
    if not os.environ.get("PMODEL_DATA"):
        pytest.skip("MNIST is not here")
    assert fitted(name, load_data("mnist"), size="small" if name != "mixture" else "base", steps=150)[0] == []


# forced failures: the verdict, its remedy, and whether the model is of any use


def test_posterior_collapse(digits, tmp_path):
    heard, _ = fitted("vae", digits, tmp_path / "run", size="tiny", steps=120, beta=1000.0)
    found = verdicts(heard)["posterior collapse"]
    assert found.fatal
    assert "None of the 2 units" in found.words
    assert "(0 of 2 active)" in found.words
    assert "beta" in found.remedy
    written = read_json(tmp_path / "run/run.json")["health"]
    assert [Diagnosis.from_json(entry) for entry in written] == [found]


def test_posterior_collapse_of_all_layers(digits):
    found = verdicts(fitted("vae", digits, size="tiny", steps=120, beta=1000.0, ladder=3)[0])
    assert "None of the 6 units" in found["posterior collapse"].words
    assert "free_bits" in found["posterior collapse"].remedy
    assert "silent layers" not in found


def divergences(*layers):
    return {f"bound.kl_{layer}": value for layer, value in enumerate(layers, start=1)}


@pytest.mark.parametrize(
    ("reports", "words", "remedy"),
    [
        ([divergences(9.0, 2.0, 0.001)], "layer 3 says", "ladder=2"),
        (
            [divergences(0.001, 0.5, 0.0), divergences(0.009, 0.5, 0.0)],
            "Of 3 layers of latents, counted from the top, layers 1, 3",
            "ladder=1",
        ),
        ([divergences(9.0, 0.02), divergences(9.0, 0.001)], None, None),  # it did say something
        ([divergences(0.001, 0.001)], None, None),  # posterior collapse is another verdict
        ([{"bound.kl": 0.0, "bound.kl_": 0.0, "bound.kl_0": 0.0}, {}], None, None),
        ([], None, None),
    ],
)
def test_silent_layers(reports, words, remedy):
    found = silent_layers(reports, Patient(dict.fromkeys(VAE_OPTIONS)))
    assert (found is None) == (words is None)
    if found is not None:
        assert not found.fatal
        assert words in found.words
        assert remedy in found.remedy


def test_a_layer_that_sleeps_in_a_short_run_is_named(digits):
    found = verdicts(fitted("vae", digits, size="small", steps=150, ladder=2)[0])
    assert set(found) == {"silent layers"}
    assert "layer 2 says nothing" in found["silent layers"].words
    assert "train for longer" in found["silent layers"].remedy


def test_a_layer_that_is_silent_is_named_when_the_model_is_examined(digits):
    model = make("vae", digits.domain, latent=2, width=8, ladder=2, architecture="dense")
    doctor = Doctor(model, digits, 0)
    doctor.listen(Stepped(LEAST_STEPS, 1000, {"bound.loss": 5.0, **divergences(3.0, 0.0)}, 1, 1.0))
    assert "silent layers" in [verdict.name for verdict in doctor.examine()]


def test_data_that_need_no_code_make_collapse_harmless():
    x = torch.randn(1000, 3, generator=noise())
    data = Dataset("bell", Real((3,)), Split(x[:800]), Split(x[800:900]), Split(x[900:]))
    found = verdicts(fitted("vae", data, size="small", steps=400, beta=10.0)[0])["posterior collapse"]
    assert not found.fatal
    assert "look like data" in found.words


def test_a_collapsed_generator(digits, tmp_path):
    options = {"latent": 1, "channels": 2, "width": 1, "loss": "nonsaturating", "penalty": 0.0}
    settings = {**COLLAPSING, "rate": 0.05, "batch": 64}  # where six seeds of six collapse
    heard, _ = fitted("dcgan", digits, tmp_path / "run", **options, steps=150, settings=settings)
    found = verdicts(heard)["collapsed generator"]
    assert found.fatal
    assert "all but equal" in found.words
    assert "train.rate" in found.remedy
    written = [entry["name"] for entry in read_json(tmp_path / "run/run.json")["health"]]
    assert written == ["collapsed generator"]


def test_a_saturated_discriminator(digits, tmp_path):
    options = {"latent": 8, "channels": 4, "width": 12, "loss": "minimax", "penalty": 0.0}
    heard, _ = fitted("dcgan", digits, tmp_path / "run", **options, steps=150, settings=COLLAPSING)
    first = heard[0].diagnosis  # heard from the losses, before the first examination
    assert first.name == "saturated discriminator"
    assert not first.fatal
    assert "repeats" in first.remedy
    written = [entry["name"] for entry in read_json(tmp_path / "run/run.json")["health"]]
    assert written == ["saturated discriminator"]


def test_dropped_modes(digits):
    settings = {**COLLAPSING, "rate": 0.03}  # where three seeds of three drop modes and none diverges
    heard, _ = fitted(
        "dcgan", digits, size="tiny", steps=150, loss="nonsaturating", penalty=0.0, latent=1, settings=settings
    )
    found = verdicts(heard)["mode collapse"]
    assert "different ones" in found.words
    assert "train.rate" in found.remedy


@pytest.mark.parametrize("emission", ["gaussian", "categorical"])
def test_memorised_training_data(digits, emission):
    few = replace(digits, train=digits.train.take(torch.arange(24)))
    more = {"covariance": "spherical", "shrinkage": 0.0} if emission == "gaussian" else {"shrinkage": 0.0}
    found = verdicts(fitted("mixture", few, components=24, emission=emission, restarts=1, **more)[0])
    assert set(found) == {"memorised training data"}  # and not mode collapse, though copies coincide
    assert "of held-out data 0% are" in found["memorised training data"].words
    assert "smaller model" in found["memorised training data"].remedy
    assert not found["memorised training data"].fatal


@pytest.mark.parametrize(("name", "part"), [("vae", "bound."), ("dcgan", "")])
def test_a_rate_that_explodes_leaves_the_last_good_state(digits, tmp_path, name, part):
    with pytest.raises(Diverged) as caught:
        fitted(name, digits, tmp_path / "run", size="tiny", steps=150, settings={"rate": 10.0})
    message = str(caught.value)
    assert part in message
    assert "The steps are too large" in message
    assert "--set train.rate" in message
    model = pmodel.load(tmp_path / "run")
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values() if tensor.is_floating_point())
    assert len(model.sample(2, generator=0)) == 2


def test_a_state_with_an_exploded_loss_is_not_saved_over_a_good_one(digits, tmp_path):
    steps = []
    with pytest.raises(Diverged, match="exploded"):
        pmodel.fit(
            "vae",
            digits,
            out=tmp_path / "run",
            size="tiny",
            steps=150,
            settings={"rate": 10.0},
            save_every=0,
            logs=(),
            on_event=lambda e: steps.append((type(e).__name__, getattr(e, "losses", {}).get("bound.bound"))),
        )
    exploded = [k for k, (name, bound) in enumerate(steps) if name == "Stepped" and abs(bound) > 1000 * 211]
    assert exploded
    assert ("Saved", None) in steps[: exploded[0]]
    assert all(steps[k + 1][0] != "Saved" for k in exploded if k + 1 < len(steps))


def test_a_loss_that_exploded_is_rescued(digits):
    events = []
    settings = {"rate": 10.0, "retry": 10}
    model = pmodel.fit("dcgan", digits, size="tiny", steps=150, settings=settings, on_event=events.append)
    assert any(isinstance(event, Rescued) for event in events)
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_a_batch_that_is_not_finite_names_the_datum(tmp_path):
    """The one bad datum is not among those that the model is prepared on, so that it comes with a batch."""
    x = torch.randn(20_500, 2, generator=noise())
    model = make("vae", Real((2,)), latent=2, architecture="dense", width=8)
    clean = Dataset("clean", Real((2,)), Split(x), Split(x[:60]), Split(x[:60]))
    subset = torch.randperm(len(x), generator=pmodel.randomness.generator(0, "subset"))[:20_000]
    row = int(next(k for k in range(len(x)) if k not in set(subset.tolist())))
    assert plan(model, clean, steps=1).recipe.batch == 128
    x = x.clone()
    x[row, 1] = torch.nan
    bad = replace(clean, train=Split(x))
    with pytest.raises(Diverged) as caught:
        fitted("vae", bad, tmp_path / "run", steps=200, size="tiny", settings={"select": "last"})
    message = str(caught.value)
    assert "holds nan at entry (1,)" in message
    assert "1 of the 128 data of this batch" in message
    assert "remove or repair these data" in message
    assert bool(pmodel.load(tmp_path / "run").sample(5, generator=0).isfinite().all())


def test_bad_data_that_a_model_is_prepared_on_are_suspected():
    x = torch.randn(400, 2, generator=noise())
    x[7, 0] = torch.inf
    data = Dataset("bad", Real((2,)), Split(x), Split(x[100:200]), Split(x[200:]))
    with pytest.raises(Diverged, match="not finite in the training data") as caught:
        fitted("vae", data, steps=5, size="tiny", settings={"batch": 8})
    assert "before the first step" in str(caught.value)


def test_a_full_disk_leaves_the_last_good_state(digits, tmp_path, monkeypatch):
    run, sync = tmp_path / "run", os.fsync
    steps = []

    def full(descriptor):
        if len(steps) >= 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as caught:
        pmodel.fit(
            "vae",
            digits,
            out=run,
            size="tiny",
            steps=50,
            save_every=0,
            logs=(),
            on_event=lambda e: steps.append(e) if isinstance(e, Stepped) else None,
        )
    assert "cannot be written: No space left on device" in str(caught.value)
    assert "free space" in str(caught.value)
    monkeypatch.undo()
    assert len(pmodel.load(run).sample(2, generator=0)) == 2
    again = pmodel.fit("vae", digits, out=run, size="tiny", resume=True)
    assert read_json(run / "run.json")["status"] == "finished"
    assert len(again.sample(2, generator=0)) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("vae --steps 120 --set beta=1000", ("posterior collapse", "beta")),
        ("vae --steps 50 --set train.rate=10", ("exploded", "train.rate")),
        (
            "dcgan --steps 150 --set loss=nonsaturating penalty=0 latent=1 channels=2 width=1 train.rate=0.05 "
            "train.betas=0.9,0.99 train.batch=64",
            ("collapsed generator", "train.rate"),
        ),
    ],
)
def test_the_command_fails_and_says_why(words, says, tmp_path, capsys):
    name, *rest = words.split()
    with pytest.raises(SystemExit) as ended:
        main(["fit", name, "--data", "digits", "--size", "tiny", "--out", str(tmp_path / "run"), *rest])
    told = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 1
    assert all(word in told for word in says)
    assert len(pmodel.load(tmp_path / "run").sample(2, generator=0)) == 2


# examinations


class Drawn(Samples, Variational):
    """Whatever its functions say: samples of n, and codes of x."""

    natives = (Real,)

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.samples = lambda n, generator: torch.randn(n, *domain.shape, generator=generator)
        self.code = lambda x: Normal(x, torch.tensor(0.1))

    @property
    def codes(self):
        return self.domain

    def _sample(self, n, given, generator):
        return self.samples(n, generator)

    def _encode(self, x, given):
        return self.code(x)

    def _decode(self, z, given):
        return Normal(z, torch.ones_like(z))

    def _log_weight_under(self, seen, x, given, generator):
        z = seen.sample(generator)
        prior = Normal(torch.zeros_like(z), torch.ones_like(z))
        return self._decode(z, given).log_prob(x) + prior.log_prob(z) - seen.log_prob(z)


def examined(data, samples=None, code=None):
    """The verdicts on a model with these samples and codes, by name."""
    model = Drawn(data.domain)
    real = data.train.x
    model.samples = samples or (
        lambda n, g: real[torch.randint(len(real), (n,), generator=g)] + torch.randn(n, 4, generator=g)
    )
    model.code = code or model.code
    return {verdict.name: verdict for verdict in Doctor(model, data, 0).examine()}


def test_a_good_model_gets_no_verdict(clouds):
    assert examined(clouds) == {}


@pytest.mark.parametrize(
    ("samples", "name", "says"),
    [
        (lambda n, g: torch.ones(n, 4), "collapsed generator", "all but equal"),
        (lambda n, g: 1 + 0.01 * torch.randn(n, 4, generator=g), "collapsed generator", "all but equal"),
        (
            lambda n, g: 5.0 * torch.eye(4)[torch.randint(4, (n,), generator=g)],
            "mode collapse",
            "about 4 different ones",
        ),
        (lambda n, g: 1e6 * torch.randn(n, 4, generator=g), "runaway samples", "times that between data"),
        (lambda n, g: torch.randn(n, 4, generator=g) / 0, "runaway samples", "256 of 256 samples"),
        (
            lambda n, g: torch.where(torch.rand(n, 4, generator=g) < 0.01, torch.nan, 0.0),
            "runaway samples",
            "not finite",
        ),
    ],
)
def test_useless_samples_are_fatal(clouds, samples, name, says):
    found = examined(clouds, samples)
    assert list(found) == [name]
    assert found[name].fatal
    assert says in found[name].words
    assert found[name].remedy


def test_half_of_the_samples_are_copies(clouds):
    def samples(n, generator):
        rows = clouds.train.x[torch.randint(360, (n,), generator=generator)]
        fresh = torch.randn(n, 4, generator=generator)
        return torch.where(torch.rand(n, 1, generator=generator) < 0.5, rows + 0.001 * fresh, rows + fresh)

    found = examined(clouds, samples)
    assert list(found) == ["memorised training data"]
    assert 0.4 < float(found["memorised training data"].words.split("%")[0]) / 100 < 0.65


def test_without_held_out_data_copies_are_not_judged(clouds):
    whole = replace(clouds, valid=clouds.train, test=clouds.train)
    assert examined(whole, lambda n, g: clouds.train.x[torch.randperm(360, generator=g)[:n]]) == {}


@pytest.mark.parametrize(
    ("code", "collapsed"),
    [
        (lambda x: Normal(0 * x, torch.tensor(1.0)), True),
        (lambda x: Normal(0.1 * x, torch.full_like(x, 100.0)), True),
        (lambda x: Normal(0 * x, torch.tensor(0.0)), True),  # no noise, and always the same
        (lambda x: Normal(x, torch.tensor(0.0)), False),  # an autoencoder
        (lambda x: Normal(1e-6 * x, torch.tensor(1e-6)), False),  # the scale of a code does not matter
        (lambda x: Normal(torch.cat([x[:, :1], torch.zeros(len(x), 99)], 1), torch.tensor(1.0)), False),
    ],
)
def test_a_code_is_collapsed_if_no_unit_says_anything(clouds, code, collapsed):
    found = examined(clouds, lambda n, g: 3 * torch.randn(n, 4, generator=g), code)
    assert set(found) == ({"posterior collapse"} if collapsed else set())
    assert all(verdict.fatal for verdict in found.values())


@pytest.mark.parametrize(
    ("name", "size", "verdict", "named"),
    [
        ("autoencoder", {}, "silent code", set()),
        ("autoencoder", {"prior": "gaussian"}, "silent code", set()),
        ("vae", {}, "posterior collapse", {"beta", "warmup", "free_bits"}),
        ("vae", {"prior": "gaussian"}, "posterior collapse", {"beta", "warmup", "free_bits"}),
        ("vqvae", {}, "silent code", {"restart", "codes", "decay"}),
        ("dvae", {}, "posterior collapse", {"beta", "warmup", "temperature"}),
        ("rbm", {}, "silent code", set()),
    ],
)
def test_remedies_name_only_options_that_the_model_has(name, size, verdict, named):
    """And mean what they say: the beta of a VQ-VAE is the weight of no KL."""
    domain = Discrete((1, 8, 8), 2)
    model = make(name, domain, **catalogue.find(name).load().sizes.get("tiny", {}), **size)
    patient = Patient.of(model)
    if levels := levels_of(model):
        q = Categorical(torch.zeros(64, 4, levels))
        found = silent_codes(q, levels, lambda: True, patient)
    else:
        found = posterior_collapse(torch.zeros(64, 2), torch.zeros(64, 2), lambda: True, patient)
    assert found.name == verdict
    assert set(re.findall(r"--set (\w+)=", found.remedy)) == named
    assert "train.rate" in found.remedy
    dead = dead_codes(torch.zeros(99, 4, dtype=torch.int64), 8, patient)
    assert set(re.findall(r"--set (\w+)=", dead.remedy)) <= patient.options.keys()
    assert named <= patient.options.keys()


def test_the_remedies_of_chains_are_the_model_s():
    reports = [{"fit.data_energy": 0.0, "fit.chain_energy": 20.0, "fit.energy_spread": 1.0}] * 10
    for name, named in (("rbm", {"sweeps"}), ("ebm", {"sweeps", "step"})):
        patient = Patient.of(make(name, Discrete((4,), 2)))
        (found,) = diverging(reports, 10, 4, patient)
        assert set(re.findall(r"--set (\w+)=", found.remedy)) == named


class Learning(Drawn, GradientTrained):
    """The same, and it learns by gradients."""

    def phases(self):
        return ()


def test_an_untrained_model_is_not_judged(clouds):
    model = Learning(clouds.domain)
    model.samples = lambda n, generator: torch.zeros(n, 4)
    doctor = Doctor(model, clouds, 0)
    doctor.listen(Stepped(LEAST_STEPS - 1, 1000, {"fit.loss": 5.0}, 1, 1.0))
    assert doctor.examine() == []
    doctor.listen(Stepped(LEAST_STEPS, 1000, {"fit.loss": 5.0}, 1, 1.0))
    assert [verdict.name for verdict in doctor.examine()] == ["collapsed generator"]


def test_an_examination_changes_nothing(clouds):
    model = make("vae", clouds.domain, latent=2, architecture="dense", width=8).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    doctor = Doctor(model, clouds, 0)
    doctor.step = LEAST_STEPS
    stream = torch.get_rng_state()
    first, second = doctor.examine(), doctor.examine()
    assert first == second
    assert torch.equal(torch.get_rng_state(), stream)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tables_with_gaps_and_categories_are_examined():
    rows = torch.rand(600, 3, generator=noise(), dtype=torch.float64)
    rows[:, 2] = (3 * rows[:, 2]).floor()
    rows[::3, 0] = torch.nan
    columns = (Column("a", missing=True), Column("b"), Column("c", "category", categories=("u", "v", "w")))
    data = Dataset("table", Table(columns), Split(rows[:400]), Split(rows[400:500]), Split(rows[500:]))
    assert fitted("gaussian", data)[0] == []


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_data_are_enough_to_be_examined(n):
    x = torch.randn(n, 2, generator=noise())
    data = Dataset("few", Real((2,)), Split(x), Split(x), Split(x))
    model = Drawn(data.domain)
    assert all(isinstance(found, Diagnosis) for found in Doctor(model, data, 0).examine())


def test_constant_data_are_examined():
    x = torch.zeros(200, 2)
    data = Dataset("same", Real((2,)), Split(x[:100]), Split(x[100:150]), Split(x[150:]))
    model = Drawn(data.domain)
    model.samples = lambda n, generator: torch.zeros(n, 2)
    assert "collapsed generator" not in {verdict.name for verdict in Doctor(model, data, 0).examine()}


# losses


def heard(model, data, reports):
    """What a doctor says to these reports of losses, in order."""
    doctor = Doctor(model, data, 0)
    return [doctor.listen(Stepped(step, 1000, losses, 1, 1.0)) for step, losses in reports]


def test_a_saturated_discriminator_is_told_once_and_again_when_it_comes_back(clouds):
    def report(step, loss):
        return step, {"d.loss": loss, "d.real": 9.0, "d.fake": -9.0, "g.loss": 9.0}

    losses = [0.7] + [1e-4] * WINDOW + [1e-4] * 3 + [0.5] + [1e-4] * WINDOW
    told = heard(Drawn(clouds.domain), clouds, [report(200 + k, loss) for k, loss in enumerate(losses)])
    assert [k for k, found in enumerate(told) if found] == [WINDOW, len(losses) - 1]
    assert told[WINDOW][0].name == "saturated discriminator"
    assert "0.0001 at most" in told[WINDOW][0].words


def test_a_collapse_is_told_before_the_saturation_that_was_heard_first(clouds):
    model = Drawn(clouds.domain)
    model.samples = lambda n, generator: torch.ones(n, 4)
    doctor = Doctor(model, clouds, 0)
    saturated = {"d.loss": 1e-4, "d.real": 9.0, "d.fake": -9.0, "g.loss": 9.0}
    first = [found.name for k in range(WINDOW) for found in doctor.listen(Stepped(200 + k, 1000, saturated, 1, 1.0))]
    assert first == ["saturated discriminator"]
    assert [found.name for found in doctor.examine()] == ["collapsed generator", "saturated discriminator"]


@pytest.mark.parametrize("losses", [{"d.loss": -5.0, "d.real": 1.0, "d.fake": 2.0}, {"fit.loss": 0.0}])
def test_a_critic_or_a_perfect_fit_is_not_saturated(clouds, losses):
    told = heard(Drawn(clouds.domain), clouds, [(200 + k, losses) for k in range(2 * WINDOW)])
    assert not any(told)


def test_only_a_bounded_loss_of_next_to_nothing_is_a_victory():
    """A Wasserstein critic is there where it cannot tell. CycleGAN, without a penalty, is not sent to a game that needs one."""
    reports = [{"d.loss": 0.0, "d.real": 0.1, "d.fake": 0.1}] * WINDOW
    assert saturation("d", reports, WINDOW, Patient({"loss": "wasserstein", "penalty": 10.0})) is None
    pair, cycle = (
        saturation("d", reports, WINDOW, Patient({"loss": "hinge", **more})) for more in ({"penalty": 0.0}, {})
    )
    assert "loss=relativistic" in pair.remedy
    assert "loss=relativistic" not in cycle.remedy


def test_a_loss_explodes_when_it_stays_large(clouds):
    fine, large = {"fit.loss": 2.0}, {"fit.loss": -2.1 * EXPLODED}
    reports = [fine, large, large, fine, large, large]
    assert not any(heard(Drawn(clouds.domain), clouds, list(enumerate(reports, 1))))
    with pytest.raises(Diverged, match=r"exploded: it is -2\.1e\+03 at step 7") as caught:
        heard(Drawn(clouds.domain), clouds, list(enumerate([*reports, large], 1)))
    assert "--set train.rate" in str(caught.value)


def test_a_loss_of_a_phase_that_begins_later_is_compared_with_its_own_start(clouds):
    reports = [{"fit.loss": 2.0}, {"late.loss": 3.0 * EXPLODED}, *[{"late.loss": 2.0 * EXPLODED}] * 3]
    assert not any(heard(Drawn(clouds.domain), clouds, list(enumerate(reports, 1))))
    with pytest.raises(Diverged, match="late"):
        heard(Drawn(clouds.domain), clouds, list(enumerate([*reports, *[{"late.loss": 4e3 * EXPLODED}] * 3], 1)))


def test_a_run_that_went_back_is_heard_afresh(clouds):
    fine, large = {"fit.loss": 2.0}, {"fit.loss": 3 * EXPLODED}
    assert not any(heard(Drawn(clouds.domain), clouds, [(1, fine), (2, large), (3, large), (2, large), (3, fine)]))


# the first bad tensor


class Net(nn.Module):
    """Three layers, of which the second can be made to overflow, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.shift = nn.Parameter(torch.zeros(1))
        self.register_buffer("mask", torch.full((1,), -torch.inf))  # what attention has, and no fault
        self.register_buffer("mean", torch.zeros(1))

    def outputs(self, batch):
        return self.third(self.second(self.first(batch.x)).relu()) + self.shift


def explained(net, x=None, loss=None, what="loss", step=7, arithmetic="float32", observed=None):
    """The message on a step of a net whose loss is this function of its outputs."""
    batch = Batch(torch.randn(8, 2, generator=noise()) if x is None else x, None, observed)
    loss = loss or (lambda y: y.mean())
    phase = Phase("fit", tuple(net.parameters()), lambda batch, generator: Loss(loss(net.outputs(batch))))
    failed = phase.loss(batch, noise())
    parts = {"part": float(failed.total.detach())}
    error = explain(net, phase, batch, what, step, lambda: phase.loss(batch, noise()), arithmetic, parts)
    assert isinstance(error, Diverged)
    assert f"The {what} of phase 'fit' is not finite at step {step}" in error.problem
    assert error.hint
    return str(error)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_datum_is_named(bad):
    x = torch.zeros(8, 2)
    x[3, 1] = bad
    message = explained(Net(), x)
    assert f"holds {bad} at entry (1,) of its datum 3" in message
    assert "1 of the 8 data" in message
    assert "remove or repair" in message


def test_what_is_not_observed_may_be_anything():
    x = torch.zeros(8, 2)
    x[3, 1] = torch.nan
    net = Net()
    assert "batch holds" not in explained(net, x, lambda y: y.nan_to_num().mean() / 0, observed=~x.isnan())


def test_a_bad_weight_is_named_and_its_update_suspected():
    net = Net()
    with torch.no_grad():
        net.second.bias[2] = torch.nan
    message = explained(net)
    assert "the parameter 'second.bias' is not finite in 1 of 4 entries" in message
    assert "An earlier update broke it" in message
    assert "--set train.rate" in message
    assert "before the first step" in explained(net, step=0)


def test_a_bad_buffer_is_named():
    net = Net()
    net.mean.fill_(torch.nan)
    assert "the buffer 'mean'" in explained(net)


def test_the_first_layer_that_overflows_is_named():
    net = Net()
    with torch.no_grad():
        net.first.weight.fill_(1e30)
        net.second.weight.fill_(1e30)
        net.third.weight.fill_(1e30)
    message = explained(net, torch.ones(8, 2))
    assert "the first bad tensor is the output of 'second' (Linear), whose input reaches 2e+30" in message
    assert "run away, to 2e+30: the steps are too large" in message


def test_the_first_bad_gradient_seen_from_the_loss_is_named():
    net = Net()
    with torch.no_grad():
        net.second.weight.fill_(-1.0)
        net.second.bias.fill_(-100.0)  # the rectifier is off, so that only its constant comes through
        net.third.bias.zero_()
    message = explained(net, loss=lambda y: y.abs().sqrt().sum(), what="gradient")
    assert "the first bad gradient, seen from the loss, is that of the output of 'third' (Linear)" in message
    assert "a logarithm, root or exponential left its range" in message


def test_a_loss_of_finite_layers_is_itself_at_fault():
    message = explained(Net(), loss=lambda y: (0 * y.mean()).log())
    assert "every layer is finite, and 'part' is not" in message
    assert "a logarithm, root or exponential left its range" in message


def test_a_coarse_arithmetic_is_suspected():
    assert "--precision float32" in explained(Net(), loss=lambda y: (0 * y.mean()).log(), arithmetic="bfloat16")


def test_a_loss_that_refuses_nan_is_still_explained():
    net = Net()
    with torch.no_grad():
        net.first.weight.fill_(1e30)
        net.second.weight.fill_(1e30)
    batch = Batch(torch.ones(8, 2))

    def loss(batch, generator):
        y = net.outputs(batch)
        return Loss(torch.multinomial(y.flatten().abs(), 1).float().sum() * y.sum())

    phase = Phase("fit", tuple(net.parameters()), loss)
    error = explain(net, phase, batch, "loss", 3, lambda: loss(batch, None), "float32", {})
    assert "'second' (Linear)" in str(error)
    assert not any(layer._forward_hooks for layer in net.modules())


# distances


def test_one_distribution_is_not_told_apart():
    pairs = [
        (torch.randn(256, 3, generator=noise(k)), torch.randn(256, 3, generator=noise(100 + k))) for k in range(20)
    ]
    assert not any(differ(a, b) for a, b in pairs)


def test_a_ring_is_told_from_a_bell_of_its_moments():
    angle = 2 * torch.pi * torch.rand(256, generator=noise(1))
    ring = torch.stack([angle.cos(), angle.sin()], 1) * 2**0.5
    assert differ(torch.randn(256, 2, generator=noise(2)), ring)


def test_nearest_and_copied_by_hand():
    points = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    assert nearest(torch.cdist(points, points)).tolist() == [1.0, 1.0, 0.5, 0.5]
    train = torch.tensor([[0.0], [4.0], [8.0], [8.0]])
    assert copied(torch.tensor([[0.9]]), train) == 1.0  # 0.9 and 3.1 away
    assert copied(torch.tensor([[1.1]]), train) == 0.0  # 1.1 and 2.9 away
    assert copied(torch.tensor([[8.0]]), train) == 0.0  # two data are as near: it may be a frequent one
    assert copied(torch.tensor([[8.0]]), train[:1]) == 0.0


def test_columns_are_standardised_and_pictures_averaged():
    x = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, torch.nan]], dtype=torch.float64)
    rows = Columns(Table((Column("a"), Column("b", missing=True))), x)(x)
    assert torch.allclose(rows[:, 0], torch.tensor([-1.2247, 0.0, 1.2247]), atol=1e-4)
    assert rows[:, 1].tolist() == [0.0, 0.0, 0.0]
    pictures = torch.randint(0, 256, (5, 3, 20, 30), generator=noise())
    assert Columns(Discrete((3, 20, 30), 256), pictures)(pictures).shape == (5, 3 * 8 * 8)


def test_far_values_stay_finite():
    x = torch.randn(50, 2, generator=noise())
    rows = Columns(Real((2,)), x)(torch.tensor([[torch.inf, -1e38]]))
    assert bool(torch.cdist(rows, -rows).isfinite().all())


def test_a_diagnosis_survives_its_record():
    diagnosis = Diagnosis("collapse", "It is.", "leave it", fatal=True)
    assert Diagnosis.from_json(diagnosis.to_json()) == diagnosis
    assert Diagnosis.from_json({"name": 3, "fatal": "yes", "step": 2}) == Diagnosis("3", "", "")
    assert str(diagnosis) == "collapse, of no use as it is: It is. Remedy: leave it"
