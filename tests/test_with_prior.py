"""Codes with a prior: the bound against enumeration and closed forms, when there is one, and how two stages are trained."""

import itertools
import json
from pathlib import Path

import pytest
import scipy.stats
import torch
from torch import nn

import pmodel
from pmodel import Discrete, Real, make
from pmodel.capability import Latent
from pmodel.cli import _set_each, main
from pmodel.construction import build
from pmodel.data import Dataset, Split
from pmodel.distribution import Normal, Point
from pmodel.errors import BadInput, NotSupported, RangeError, UnknownName
from pmodel.explicit.tractable.histogram import Histogram
from pmodel.learning import Batch, GradientTrained, Loss, Phase, Recipe
from pmodel.randomness import forked, generator
from pmodel.testing.fitting import learn
from pmodel.train import Stepped, plan
from pmodel.train.ema import MovingAverage
from pmodel.train.loop import Training
from pmodel.train.state import copied
from pmodel.train.stepper import Stepper, learning_rate
from pmodel.train.validation import Likelihoods, Score
from pmodel.wrappers import Standardised, WithPrior
from reference_models import Bell, Chain, Line, Pair
from structures import Mapped

LABEL = Discrete((), 3)
PLANE = Real((2,))
SIGNS = Discrete((2,), 2)


class Signs(Latent, GradientTrained):
    """The code of a point is its quadrant, and p(x | z) a normal around the quadrant's middle: a map to discrete codes."""

    natives = (Real,)
    deterministic = True
    codes = SIGNS

    def __init__(self, domain, given=None):
        super().__init__(domain, given)
        self.middle, self.log_std = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def _encode(self, x, given):
        return Point((x > 0).long())

    def _decode(self, z, given):
        assert z.dtype == torch.int64
        mu = (2 * z - 1) * self.middle
        return Normal(mu, self.log_std.exp().expand_as(mu))

    def phases(self):
        return (Phase("fit", tuple(self.parameters()), self.loss),)

    def loss(self, batch, generator):
        return Loss(-self._decode(self._encode(batch.x, None).x, None).log_prob(batch.x).mean())

    def recipe(self):
        return Recipe(batch=16, rate=0.05, steps=40)


def shifted(n=400):
    return torch.randn(n, 2, generator=generator(0)) + torch.tensor([3.0, -2.0])


@pytest.fixture
def points():
    x = shifted()
    return Dataset("points", PLANE, Split(x[:300]), Split(x[300:350]), Split(x[350:]))


def two_stages(seed=0):
    with forked(seed, "init"):
        return WithPrior(Mapped(PLANE), Standardised(Line(Real((2,)))))


def trained(model, points, steps=40, until=None):
    training = Training(model, points, plan(model, points, steps=steps, precision="float32"))
    for event in training:
        if until is not None and isinstance(event, Stepped) and event.step == until:
            return training
    return training


def test_the_bound_is_that_of_a_vae_with_this_prior():
    autoencoder, prior = Line(PLANE), Bell(Real((1,)))
    prior.mu.fill_(0.4)
    prior.std.fill_(0.8)
    model = WithPrior(autoencoder, prior)
    x = torch.randn(5, 2, generator=generator(0))
    cov = autoencoder.decoder.weight @ (0.64 * torch.eye(1)) @ autoencoder.decoder.weight.T + torch.eye(2)
    mean = autoencoder.decoder(torch.tensor([[0.4]]))[0]
    exact = scipy.stats.multivariate_normal(mean.detach(), cov.detach()).logpdf(x)
    score = model.score(x, effort=20_000)
    assert bool(((score.values - torch.as_tensor(exact)).abs() < 6 * score.mc_stderr + 1e-4).all())
    assert bool((model.elbo(x, effort=2000).values < torch.as_tensor(exact) + 1e-2).all())


def test_the_bound_of_discrete_codes_is_one_term_of_the_sum_over_all():
    model = learn(WithPrior(Signs(PLANE), Histogram(SIGNS)), Batch(shifted() / 3))
    x = shifted(7) / 3
    codes = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    log_joint = torch.stack([model.decode(z.expand(7, 2)).log_prob(x) + model.prior.log_prob(z[None]) for z in codes])
    score = model.score(x)
    mine = model.encode(x).mode @ torch.tensor([2, 1])
    torch.testing.assert_close(score.values.float(), log_joint.gather(0, mine[None])[0].float())
    assert bool((score.values < torch.logsumexp(log_joint, 0)).all())
    assert (score.kind, score.estimator) == ("lower_bound", "evidence lower bound, 16 draws")
    assert score.mc_stderr.abs().max() == 0


def test_samples_of_discrete_codes_come_in_the_frequencies_of_the_codes():
    model = learn(WithPrior(Signs(PLANE), Histogram(SIGNS)), Batch(shifted()))
    drawn = model.encode(model.sample(4000, generator=0)).mode
    assert float(drawn[:, 0].double().mean()) > 0.95
    assert float(drawn[:, 1].double().mean()) < 0.05


@pytest.mark.parametrize(
    ("autoencoder", "prior", "scores"),
    [
        (lambda: Line(PLANE), lambda: Bell(Real((1,))), True),
        (lambda: Mapped(PLANE), lambda: Bell(Real((2,))), False),
        (lambda: Standardised(Mapped(PLANE)), lambda: Bell(Real((2,))), False),
        (lambda: Signs(PLANE), lambda: Histogram(SIGNS), True),
    ],
)
def test_it_scores_where_the_encoder_has_a_density_of_its_codes(autoencoder, prior, scores):
    model = WithPrior(autoencoder(), prior())
    assert (model.can("score"), model.can("elbo"), model.can("sample")) == (scores, scores, True)
    if not scores:
        with pytest.raises(NotSupported, match="cannot score"):
            model.score(shifted())


@pytest.mark.parametrize(
    ("autoencoder", "prior", "error", "text"),
    [
        (Bell(PLANE), Bell(Real((1,))), NotSupported, "a model that encodes"),
        (Line(PLANE), Pair(Real((1,))), NotSupported, "can be sampled and scored"),
        (Line(PLANE), Bell(PLANE), BadInput, r"of the codes, Real\(shape=\(1,\)\)"),
        (Signs(PLANE), Bell(PLANE), BadInput, r"of the codes, Discrete\(shape=\(2,\), levels=2\)"),
    ],
)
def test_what_cannot_be_joined_is_refused(autoencoder, prior, error, text):
    with pytest.raises(error, match=text):
        WithPrior(autoencoder, prior)


def test_a_prior_that_takes_a_label_makes_the_whole_conditional():
    model = WithPrior(Signs(PLANE), Chain(SIGNS, LABEL))
    assert model.given == LABEL
    assert model.sample(5, given=2, generator=0).shape == (5, 2)
    with pytest.raises(NotSupported, match="the label that the autoencoder takes"):
        WithPrior(make("vae", PLANE, LABEL, latent=2, width=4).model, Bell(PLANE))


@pytest.mark.parametrize("handover", [0.0, 1.0, -1.0, 2.0])
def test_both_stages_get_a_part_of_training(handover):
    with pytest.raises(RangeError, match="between 0 and 1"):
        WithPrior(Line(PLANE), Line(Real((1,))), handover=handover)


def test_codes_are_checked_where_they_are_decoded():
    with pytest.raises(BadInput, match="z must hold whole numbers from 0 to 1"):
        Signs(PLANE).decode(torch.tensor([[0.5, 1.0]]))
    with pytest.raises(BadInput, match=r"\(N, 1\)"):
        Line(PLANE).decode(torch.zeros(3, 2))


# two stages


def test_a_prior_in_closed_form_learns_the_finished_codes():
    model = learn(WithPrior(Line(PLANE), Bell(Real((1,)))), Batch(shifted() / 2))
    codes = model.autoencoder.encode(shifted() / 2).mean
    assert float(model.prior.mu) == pytest.approx(float(codes.mean()), abs=0.2)
    assert model.learns == ("phases", "statistics")
    assert [phase.span for phase in model.phases()] == [(0.0, 1.0)]


def test_a_prior_by_gradients_has_the_last_part_of_training_and_its_own_rate():
    model = WithPrior(Signs(PLANE), make("made", SIGNS, layers=1, width=8), handover=0.6)
    first, second = model.phases()
    assert (first.name, first.span, first.rate) == ("fit", (0.0, 0.6), 1.0)
    assert (second.name, second.span) == ("prior.likelihood", (0.6, 1.0))
    assert second.rate == pytest.approx(model.prior.recipe().rate / 0.05)
    assert second.progress(0.6) == 0
    assert second.progress(0.8) == pytest.approx(0.5)


def test_each_part_is_moved_over_its_own_part_of_training():
    model = two_stages()
    heard = {"autoencoder": [], "prior": []}
    model.autoencoder.advance = heard["autoencoder"].append
    model.prior.advance = heard["prior"].append
    for progress in (0.0, 0.35, 0.7, 0.85):
        model.advance(progress)
    assert heard["autoencoder"] == pytest.approx([0, 0.5, 1, 1])
    assert heard["prior"] == pytest.approx([0, 0, 0, 0.5])


def starts_from_the_codes_that_are_kept(points):
    """Whether the prior has the scale of the codes of the autoencoder that a run leaves behind."""
    model = two_stages()
    trained(model, points)
    codes = model.encode(points.train.x).mode.double()
    return torch.allclose(model.prior.loc, codes.mean(0), rtol=1e-5, atol=1e-6) and torch.allclose(
        model.prior.scale, codes.std(0, correction=0), rtol=1e-5, atol=1e-6
    )


def test_the_prior_starts_from_the_codes_of_the_autoencoder_that_is_kept(points):
    assert starts_from_the_codes_that_are_kept(points)


def raw_weights_at_the_handover(patch):
    patch.setattr(MovingAverage, "end", lambda self, number, before, progress: None)


def codes_of_the_beginning(patch):
    right = WithPrior.prepare

    def prepare(self, subset, given, generator):
        right(self, subset, given, generator)
        codes = self._codes(Batch(subset), generator)
        self.prior.prepare(codes.x, None, generator)

    patch.setattr(WithPrior, "prepare", prepare)
    patch.setattr(Stepper, "turn", lambda *_, **__: None)


@pytest.mark.parametrize("plant", [raw_weights_at_the_handover, codes_of_the_beginning])
def test_stale_codes_are_caught(points, plant, monkeypatch):
    plant(monkeypatch)
    assert not starts_from_the_codes_that_are_kept(points)


def test_the_rate_of_a_stage_runs_through_its_own_schedule(points):
    model, rates = two_stages(), []
    training = Training(model, points, plan(model, points, steps=40, precision="float32"))
    for event in training:
        if isinstance(event, Stepped) and event.step > 28:
            rates.append(training.stepper.optimisers["prior.bound"].param_groups[0]["lr"])
    recipe = training.plan.recipe
    assert max(rates) == pytest.approx(model.prior.recipe().rate, rel=0.05)
    assert rates[-1] < 0.1 * max(rates)
    assert learning_rate(recipe, 0.0) < learning_rate(recipe, recipe.warmup)


def test_a_run_goes_on_across_the_handover_with_the_same_bits(points):
    whole = two_stages()
    trained(whole, points)
    stopped = trained(two_stages(), points, until=27)
    again = Training(two_stages(), points, stopped.plan)
    again.restore(copied(stopped.state()))
    for _ in again:
        pass
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.fixture
def falling(monkeypatch):
    """Validation scores that get worse from one to the next."""
    scores = itertools.count()

    def score(self, model):
        return Score(torch.full((2,), -float(next(scores)), dtype=torch.float64), 0.0, "lower_bound")

    monkeypatch.setattr(Likelihoods, "score", score)


def variational(seed=0):
    options = {"latent": 1, "width": 4, "prior": "nsf", "prior.layers": 1, "prior.width": 4}
    return make("vae", PLANE, seed=seed, **options)


def test_what_was_best_before_the_prior_learned_is_not_kept(points, falling):
    model = variational()
    fresh = {name: p.clone() for name, p in model.model.prior.named_parameters()}
    trained(model, points)
    assert any(not torch.equal(p, fresh[name]) for name, p in model.model.prior.named_parameters())


def test_patience_does_not_end_a_run_before_its_last_stage(points, falling):
    model = variational()
    training = Training(model, points, plan(model, points, steps=40, precision="float32", settings={"patience": 2}))
    steps = [event.step for event in training if isinstance(event, Stepped)]
    assert training.position.reason == "stopped early"
    assert 28 < steps[-1] < 40


def test_the_average_of_what_ends_is_kept_and_of_what_begins_starts_anew():
    module = nn.Linear(1, 1)
    average = MovingAverage(module, 0.9, {module.weight: (0.0, 0.5), module.bias: (0.5, 1.0)})
    with torch.no_grad():
        module.weight.fill_(0.0)
        module.bias.fill_(0.0)
        average.begin()
        for step in range(8):
            module.weight.fill_(float(step))
            average.update(step, step / 16)
        smooth = average.average[0].clone()
        module.bias.fill_(5.0)
        average.end(8, 7 / 16, 8 / 16)
        average.start(7 / 16, 8 / 16)
        assert torch.equal(module.weight, smooth)
        assert float(average.average[1]) == 5.0
        module.bias.fill_(6.0)
        for step in range(8, 12):
            average.update(step, step / 16)
    early = min(0.9, 4 / 13) ** 4
    assert float(average.average[1]) == pytest.approx(early * 5 + (1 - early) * 6)


@pytest.mark.parametrize("budget", [3.0])
def test_a_budget_covers_both_stages(points, budget, monkeypatch):
    """Steps of the second stage that cost three times the first's are planned for."""
    model = two_stages()
    costs = {"code": 0.01, "prior.bound": 0.03}

    def timed(self, number, progress):
        return sum(costs[phase.name] for phase in self.phases if phase.on(progress))

    monkeypatch.setattr(Stepper, "timed", timed)
    chosen = plan(model, points, budget=budget, settings={"select": "last"})
    each = 0.7 * 0.01 + 0.3 * 0.03
    assert chosen.steps * each == pytest.approx(0.92 * budget, rel=0.1)


# make, build and the command line


@pytest.mark.parametrize(
    ("options", "prior", "learned"),
    [
        ({"prior": "gaussian"}, "Standardised", ("phases", "statistics")),
        ({"prior": "maf", "prior.layers": 1, "prior.width": 8, "handover": 0.5}, "Standardised", ("phases",)),
    ],
)
def test_make_joins_and_build_reads_back(options, prior, learned):
    model = make("vae", Discrete((4,), 2), latent=2, width=8, **options)
    assert isinstance(model, WithPrior)
    assert type(model.prior).__name__ == prior
    assert model.learns == learned
    assert model.spec()["handover"] == options.get("handover")
    again = build(json.loads(json.dumps(model.spec())))
    assert again.spec() == model.spec()
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_the_prior_stands_inside_what_changes_the_volume():
    model = make("vae", PLANE, prior="gaussian", latent=2, width=8)
    assert type(model).__name__ == "Standardised"
    model = learn(model, Batch(shifted()), steps=60)
    assert model.score(shifted(20)).kind == "lower_bound"
    assert isinstance(model.model, WithPrior)


@pytest.mark.parametrize("name", ["none", "auto"])
def test_a_model_may_keep_its_own_prior(name):
    assert type(make("vae", Discrete((4,), 2), prior=name)).__name__ == "VAE"


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("vae", {"prior": "gausian"}, UnknownName, "did you mean gaussian"),
        ("vae", {"prior": "dcgan"}, UnknownName, "dcgan"),
        ("vae", {"prior": 3}, BadInput, "the name of a model"),
        ("vae", {"prior": "maf", "prior.layer": 3}, UnknownName, "did you mean prior.layers"),
        ("vae", {"prior.layers": 3}, UnknownName, "prior.layers"),
        ("vae", {"prior": "pixelcnn"}, NotSupported, "The prior pixelcnn cannot take the codes of VAE"),
        ("maf", {"prior": "gaussian"}, UnknownName, "prior"),
        ("gaussian", {"prior": "gaussian"}, UnknownName, "prior"),
    ],
)
def test_wrong_priors_and_options_are_refused_with_the_nearest_names(name, options, error, text):
    with pytest.raises(error, match=text):
        make(name, PLANE, **options)


def test_a_prior_of_a_prior_is_built_inside_out():
    options = {"prior": "vae", "prior.latent": 1, "prior.width": 4, "prior.prior": "gaussian"}
    model = make("vae", Discrete((4,), 2), latent=2, width=8, **options)
    assert isinstance(model.prior.model, WithPrior)
    assert build(model.spec()).spec() == model.spec()


def test_a_malformed_record_of_two_parts_is_refused():
    spec = make("vae", Discrete((4,), 2), latent=2, width=8, prior="gaussian").spec()
    for bad in ({"handover": 3}, {"handover": "soon"}, {"prior": {}}, {"autoencoder": spec["prior"]}):
        with pytest.raises((BadInput, NotSupported)):
            build({**spec, **bad})


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a command in a folder of its own: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(words):
        with pytest.raises(SystemExit) as ended:
            main(words.split())
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_the_command_line_sets_records_and_reads_a_prior(call):
    words = "fit --steps 20 --size tiny --set prior=maf prior.width=8 prior.layers=1 vae --data moons --out run"
    assert call(words)[0] == 0
    record = json.loads(Path("run/run.json").read_text())
    assert record["options"]["prior"] == "maf"
    assert record["options"]["prior.layers"] == 1
    assert json.loads(call("score run --json")[1])["kind"] == "lower_bound"
    assert pmodel.load("run").sample(3, generator=0).shape == (3, 2)
    assert call("replay run")[0] == 0


@pytest.mark.parametrize(
    ("setting", "text"),
    [("prior=mav", "did you mean maf"), ("prior=maf prior.layers=x", "must be a whole number")],
)
def test_the_command_line_refuses_a_wrong_prior(call, setting, text):
    code, _, err = call(f"fit vae --data moons --steps 20 --set {setting}")
    assert code == 2
    assert text in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fit a --set b=1 c.d=2 --out e", "fit a --set b=1 --set c.d=2 --out e"),
        ("fit --set b=1 c=2 a --data d=e", "fit --set b=1 --set c=2 a --data d=e"),
        (
            "compare --set data.size=3 mixture:components=2 x/y=z",
            "compare --set data.size=3 mixture:components=2 x/y=z",
        ),
        ("fit a --set", "fit a --set"),
        ("fit a --set x b=2", "fit a --set x --set b=2"),
    ],
)
def test_several_settings_may_follow_one_set(words, expected):
    assert _set_each(words.split()) == expected.split()


def test_the_help_of_a_model_tells_of_its_prior(call):
    options = {option["name"]: option for option in json.loads(call("models vae --json")[1])["options"]}
    assert options["prior"]["default"] == "auto"
    assert options["prior"]["wrapper"] == "WithPrior"
    assert "name of the catalogue" in options["prior"]["doc"]
    assert "handover" not in options
    assert "prior.layers=3" in call("models vae")[2]


def joined(model):
    return next(part for part in model.modules() if isinstance(part, WithPrior))


@pytest.mark.parametrize("domain", [Real((2,)), Discrete((1, 8, 8), 2), Discrete((1, 8, 8), 17)])
def test_settings_of_both_parts_are_for_the_whole(domain):
    model = make("vae", domain, prior="gaussian", latent=2, layers=1, width=8)
    shown = model.sample(20, generator=0, mean=True)
    z = joined(model).prior.sample(20, generator=0).float()
    torch.testing.assert_close(shown, model.decode(z).mode)
    assert not torch.equal(shown, model.sample(20, generator=0))  # for that call only
    with pytest.raises(BadInput, match="mean is true"):
        model.sample(2, mean=3)
    with pytest.raises(UnknownName, match="steps"):
        model.sample(2, steps=3)


def test_a_setting_of_the_prior_is_its_own():
    model = make("vae", Real((2,)), prior="ddpm", latent=2, layers=1, width=8, **{"prior.width": 8})
    x = model.sample(4, generator=0, mean=True, steps=3)
    with joined(model).prior.adjusted(steps=3):
        assert torch.equal(x, model.sample(4, generator=0, mean=True))
    assert not torch.equal(x, model.sample(4, generator=0, mean=True, steps=5))
