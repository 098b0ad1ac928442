"""The diffusion model against closed forms on Gaussian data, its full chain, and enumeration."""

import itertools
import math

import pytest
import torch
from torch import nn

from gaussian_oracle import DATA, EYE, MU, SIGMA, gain, with_oracle
from pmodel.construction import make
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError, UnknownName
from pmodel.explicit.approximate.diffusion.bound import chain_terms, discretised_normal, end_term, squared_error
from pmodel.explicit.approximate.diffusion.ddpm import DDPM
from pmodel.explicit.approximate.diffusion.objective import evenly
from pmodel.explicit.approximate.diffusion.sampler import posterior_mean
from pmodel.learning import Batch
from pmodel.testing.fitting import learn

DIE = Discrete((1,), 6)
LABEL = Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def fresh():
    """Weights that do not depend on the order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def exact_bound(model, x):
    """The bound's sum in closed form: x - E[x_0 | x_t] is affine in eps, so the mean of its square is known, ``(N,)``."""
    chain = model.levels
    total = -end_term(chain, x)
    for t in range(1, len(chain) + 1):
        step, K = chain.step(t), gain(chain.alpha[t], chain.sigma[t])[0]
        squared = ((x - MU) @ (EYE - step.alpha_t * K)).square().sum(1) + step.sigma_t**2 * K.square().sum()
        if t == 1:
            total = total - squared / (2 * step.sigma_t**2) - (2 * math.pi * step.sigma_t**2).log()
        else:
            ratio = step.posterior / step.beta
            shift = step.weight_of_clean**2 * squared / step.beta
            total = total - 0.5 * (shift + 2 * (ratio - 1 - ratio.log()))
    return total


# --- the bound ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["cosine", "linear", "straight"])
@pytest.mark.parametrize("timesteps", [5, 1000])
def test_bound_is_the_closed_form_on_gaussian_data(schedule, timesteps):
    model = with_oracle(timesteps=timesteps, schedule=schedule)
    x = DATA.mean + torch.tensor([[0.0, 0.0], [1.0, -0.5], [-2.0, 1.0]], dtype=torch.float64)
    found = model.elbo(x.repeat(20_000, 1), effort=4).values.reshape(-1, 3)
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - exact_bound(model, x)).abs() < 5 * error).all())
    assert float(error.max()) < 0.08


def test_score_is_the_bound():
    model = with_oracle(timesteps=100)
    x = torch.zeros(3, 2, dtype=torch.float64)
    assert torch.equal(model.elbo(x, effort=8).values, model.score(x, effort=8).values)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_bound_rises_to_the_log_density_with_more_steps(schedule):
    x = MU + torch.randn(500, 2, generator=seeded(), dtype=torch.float64) @ torch.linalg.cholesky(SIGMA).T
    gaps = [
        float((DATA.log_prob(x) - exact_bound(with_oracle(timesteps=timesteps, schedule=schedule), x)).mean())
        for timesteps in (10, 40, 160, 640)
    ]
    assert all(low > high > 0 for low, high in itertools.pairwise(gaps))
    assert gaps[-1] < 0.02


@pytest.fixture
def rolled(fresh):
    """A die's model with a few steps, a little trained, so that every term matters."""
    x = torch.multinomial(torch.tensor([1.0, 4, 2, 8, 1, 4]), 512, replacement=True, generator=seeded(3)).unsqueeze(1)
    return learn(DDPM(DIE, timesteps=4, width=16, layers=1), Batch(x), steps=150)


FACES = torch.arange(6).unsqueeze(1)


def normal(x, mu, std):
    return torch.distributions.Normal(mu, std).log_prob(x).sum(1)


@torch.no_grad()
def full_chain(model, x, generator):
    """The log-weight log p(x_0:T) - log q(x_1:T | x_0), the whole chain drawn step by step, ``(N,)``."""
    chain, x_0 = model.levels, model._inward(x).double()
    path = [x_0]
    for t in range(1, len(chain) + 1):
        step = chain.step(t)
        path.append(step.alpha * path[-1] + step.beta.sqrt() * torch.randn(x_0.shape, generator=generator).double())
    total = normal(path[-1], torch.zeros_like(x_0), torch.tensor(1.0).double())
    for t in range(len(chain), 0, -1):
        step, x_t = chain.step(t), path[t]
        total = total - normal(x_t, step.alpha * path[t - 1], step.beta.sqrt())
        guess = model.guesser(x_t.float(), chain, torch.full((len(x),), t), None).x_0.double()
        if t > 1:
            total = total + normal(path[t - 1], posterior_mean(step, x_t, guess), step.posterior.sqrt())
        else:
            total = total + discretised_normal(x_0, guess, chain.sigma[1], model.bins)
    return total


def test_bound_is_the_mean_of_the_full_chains_weights(rolled):
    copies = 4000
    weights = full_chain(rolled, FACES.repeat(copies, 1), seeded()).reshape(copies, 6)
    elbo = rolled.elbo(FACES.repeat(copies // 4, 1), effort=16)
    found = elbo.values.reshape(-1, 6)
    error = (weights.var(0) / copies + found.var(0) / len(found)).sqrt()
    assert bool(((found.mean(0) - weights.mean(0)).abs() < 5 * error).all())
    p = weights.exp()
    assert float(p.mean(0).sum()) == pytest.approx(1, abs=5 * float((p.var(0) / copies).sum().sqrt()))
    assert bool((found.mean(0) < p.mean(0).log()).all())


def test_the_mean_of_the_draws_is_unbiased(rolled):
    """The draws of a datum are spread over t, in its order, and all of them together have the bound for their mean."""
    copies, noise, chain = 30_000, seeded(), rolled.levels
    x = torch.full((copies, 1), 3)
    x_0 = rolled._inward(x)
    with torch.no_grad():
        draws = torch.cat([rolled._log_weights(part, None, None, noise, 5).mean(0) for part in x.chunk(300)])
        terms = []
        for t in range(1, len(chain) + 1):
            each = torch.full((copies,), t)
            x_t = chain.alpha[t] * x_0 + chain.sigma[t] * torch.randn(x_0.shape, generator=noise)
            terms.append(rolled.terms.of(x_0, each, rolled.guesser(x_t.float(), chain, each, None)))
    terms = torch.stack(terms)
    whole = -float(end_term(chain, x_0[:1])) - float(terms.mean(1).sum())
    error = float((draws.var() / copies + terms.var(1).sum() / copies).sqrt())
    assert abs(float(draws.mean()) - whole) < 5 * error


@pytest.mark.parametrize("effort", [8, 16, 64])
def test_the_error_of_the_bound_is_that_of_spread_draws(rolled, effort):
    """Over many copies of one datum, the error that each claims is the scatter that they have."""
    found = rolled.elbo(torch.full((2000, 1), 3), effort=effort)
    claimed = float(found.mc_stderr.square().mean().sqrt())
    assert claimed == pytest.approx(float(found.values.std()), rel=0.25)


def test_stratified_draws_are_less_noisy(rolled):
    x = torch.full((2000, 1), 3)
    spread = rolled.elbo(x, effort=16).values.std()
    alone = rolled.elbo(x, effort=1).values.std() / 4
    assert float(spread) < 0.9 * float(alone)


def test_the_noising_that_is_too_short_costs_its_share():
    """With one step, L_T is the Kullback-Leibler divergence that torch computes."""
    model = DDPM(Real((2,)), timesteps=1, schedule="linear", width=8, layers=1)
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    q = torch.distributions.Normal(model.alpha[1] * x, model.sigma[1])
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros(()).double(), 1.0)).sum(1)
    assert torch.allclose(end_term(model.levels, x), expected)


@pytest.mark.parametrize("variance", ["posterior", "beta"])
@pytest.mark.parametrize("t", [1, 2, 7, 20])
def test_chain_terms_are_divergences(variance, t):
    chain = DDPM(Real((2,)), timesteps=20, width=8, layers=1).levels
    step = chain.step(t)
    x, guess, x_t = (torch.randn(5, 2, generator=seeded(i), dtype=torch.float64) for i in range(3))
    weights, constants = chain_terms(chain, variance)
    found = weights[t - 1] * squared_error(x, guess) + 2 * constants[t - 1]
    if t == 1:
        assert torch.allclose(found, -normal(x, guess, step.sigma_t))
        return
    q = torch.distributions.Normal(posterior_mean(step, x_t, x), step.posterior.sqrt())
    chosen = step.posterior if variance == "posterior" else step.beta
    p = torch.distributions.Normal(posterior_mean(step, x_t, guess), chosen.sqrt())
    assert torch.allclose(found, torch.distributions.kl_divergence(q, p).sum(1))


def test_posterior_weights_are_differences_of_the_signal_to_noise_ratio():
    chain = DDPM(Real((2,)), timesteps=20, width=8, layers=1).levels
    assert torch.allclose(chain_terms(chain, "posterior")[0][1:], -0.5 * chain.snr[1:].diff())


@pytest.mark.parametrize("bins", [1, 2, 17, 256])
@pytest.mark.parametrize("std", [1e-3, 0.05, 2.0])
@pytest.mark.parametrize("mu", [-7.0, -1.0, 0.123, 1.0])
def test_decoder_sums_to_one_over_the_levels(bins, std, mu):
    x = (torch.arange(bins) * (2 / max(1, bins - 1)) - 1).unsqueeze(1)
    log_p = discretised_normal(x, torch.full_like(x, mu), torch.tensor(std, dtype=torch.float64), bins)
    assert not bool(log_p.isnan().any())
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-4 if std < 0.01 else 1e-6)


def test_decoder_is_precise_in_both_tails():
    x, std = torch.tensor([[-0.5], [0.5]]), torch.tensor(0.05, dtype=torch.float64)
    low = discretised_normal(x, torch.tensor([[1.5], [-1.5]]), std, 5)
    assert bool(low.isfinite().all())
    assert float(low[0]) == pytest.approx(float(low[1]), rel=1e-9)
    assert -650 < float(low[0]) < -600  # 35 standard deviations to the nearer edge


# --- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["v", "eps"])
def test_the_best_network_has_no_loss_on_a_point(prediction, fresh):
    """Where all data are one point, noise and velocity can be read off x_t exactly."""
    model = DDPM(Discrete((3,), 5), timesteps=50, prediction=prediction, width=8, layers=1)
    point = torch.tensor([[0, 2, 4]])
    x_0 = model._inward(point)

    class Knows(nn.Module):
        def forward(self, x_t, t, given):
            level = (t * 50).round().long()
            alpha, sigma = model.levels.signal_and_noise(level, x_t)
            eps = (x_t - alpha * x_0) / sigma
            return alpha * eps - sigma * x_0 if prediction == "v" else eps

    with torch.no_grad():
        untrained = model._loss(Batch(point.repeat(64, 1)), seeded())
    dtype = nn.Parameter(torch.zeros(1))
    model.net = Knows()
    model.net.register_parameter("dtype", dtype)
    loss = model._loss(Batch(point.repeat(64, 1)), seeded())
    assert float(loss.total) < 1e-8 < float(untrained.total)
    assert float(loss.parts["noise"]) < 1e-8
    assert bool((model.score(point.repeat(8, 1), effort=64).values > -0.01).all())  # and the mass is all at the point


def test_a_network_that_answers_zero_has_the_loss_of_noise(fresh):
    """The networks answer zero at first: the mean square of eps is one, whatever is predicted."""
    model = DDPM(Real((2,)), timesteps=100, schedule="linear", prediction="eps", width=8, layers=1)
    loss = model._loss(Batch(torch.randn(20_000, 2, generator=seeded())), seeded())
    assert float(loss.total.detach()) == pytest.approx(1, abs=0.05)
    assert float(loss.parts["noise"].detach()) == pytest.approx(1, abs=0.05)


def test_training_spreads_the_levels_evenly_over_a_batch():
    u = evenly(100, seeded(), torch.device("cpu"))
    assert torch.equal(torch.bincount((u * 10).long()), torch.full((10,), 10))
    assert float(u.min()) >= 0
    assert float(u.max()) < 1


def test_the_label_decides(fresh):
    """Each label of three has a face of its own."""
    given = torch.randint(3, (600,), generator=seeded())
    model = learn(DDPM(DIE, LABEL, timesteps=20, width=32, layers=1), Batch(2 * given.unsqueeze(1), given), steps=400)
    for label in range(3):
        assert float((model.sample(200, given=label, generator=1) == 2 * label).double().mean()) > 0.9
    right, wrong = (
        model.score(2 * given[:50].unsqueeze(1), given=y).values.mean() for y in (given[:50], (given[:50] + 1) % 3)
    )
    assert float(right) > float(wrong) + 1


# --- sampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"sampler": "ddim", "eta": 0.0}, 100),
        ({"sampler": "ddim", "eta": 1.0}, 100),
        ({"sampler": "ancestral", "variance": "beta"}, 100),
        ({"sampler": "dpm", "eta": 0.0}, 15),
        ({"sampler": "dpm", "eta": 1.0}, 25),
        ({"sampler": "heun"}, 30),
    ],
)
@pytest.mark.parametrize("schedule", ["cosine", "straight"])
def test_samples_are_the_gaussian_that_the_network_knows(settings, steps, schedule):
    model = with_oracle(timesteps=1000, schedule=schedule)
    x = model.sample(8000, generator=0, steps=steps, **settings)
    assert torch.allclose(x.mean(0), MU, atol=0.04)
    assert torch.allclose(torch.cov(x.T), SIGMA, atol=0.04)


@pytest.mark.parametrize(
    ("timesteps", "steps", "calls"), [(1000, None, 25), (20, None, 20), (1000, 7, 7), (20, 20, 20)]
)
def test_steps_are_calls_of_the_network(timesteps, steps, calls, fresh):
    model = DDPM(DIE, timesteps=timesteps, width=8, layers=1)
    times = []
    model.net.register_forward_hook(lambda module, inputs, output: times.append(float(inputs[1][0])))
    model.sample(3, generator=0, steps=steps)
    assert len(times) == calls
    assert times[0] == 1
    assert times[-1] > 0
    assert times == sorted(times, reverse=True)
    times.clear()
    model.sample(3, generator=0, steps=steps, sampler="heun")
    assert calls - 1 <= len(times) <= calls


@pytest.mark.parametrize("settings", [{"sampler": "dpm", "eta": 0.0}, {"sampler": "heun"}])
def test_without_noise_the_start_alone_decides(settings):
    """Whatever the number of steps, and also where samples are drawn in several parts."""
    model = with_oracle(timesteps=1000)
    model.chunk = 20
    coarse, fine = (model.sample(40, generator=0, steps=steps, **settings) for steps in (60, 240))
    assert torch.allclose(coarse, fine, atol=0.04)
    assert not torch.allclose(coarse[:10], coarse[10:20], atol=0.1)


def test_settings_last_for_one_call(rolled):
    before = rolled.sample(50, generator=0)
    few = rolled.sample(50, generator=0, steps=1)
    assert not torch.equal(before, few)
    assert torch.equal(before, rolled.sample(50, generator=0))
    ancestral = rolled.sample(50, generator=0, sampler="ancestral")
    assert torch.equal(rolled.sample(50, generator=0, sampler="ddim", eta=1.0), ancestral)
    assert rolled.steps is None


def test_scores_do_not_depend_on_the_settings_of_sampling(rolled):
    scores = rolled.score(FACES).values
    with rolled.adjusted(steps=2, sampler="ancestral", variance="beta", clip=False):
        assert torch.equal(scores, rolled.score(FACES).values)


def test_a_clipped_guess_stays_in_the_range(rolled):
    x_t = 5 * torch.randn(100, 1, generator=seeded())
    with torch.no_grad():
        clipped = rolled.guesser(x_t, rolled.levels, torch.full((100,), 3), None).x_0
        free = rolled.guesser(x_t, rolled.levels, torch.full((100,), 3), None, clip=False).x_0
    assert torch.equal(clipped, free.clamp(-1, 1))
    assert float(free.abs().max()) > 1


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"timesteps": 0}, "0"),
        ({"timesteps": True}, "True"),
        ({"eta": -0.1}, "-0.1"),
        ({"eta": math.nan}, "nan"),
        ({"eta": "1"}, "1"),
        ({"sampler": "euler"}, "euler"),
        ({"variance": "small"}, "small"),
        ({"weighting": "snr"}, "snr"),
        ({"likelihood": "ode"}, "ode"),
        ({"network": "resnet"}, "resnet"),
        ({"unlabelled": 1}, "1"),
        ({"rounds": 0}, "0"),
        ({"patch": 0}, "0"),
        ({"heads": 0}, "0"),
        ({"clip": 1}, "1"),
        ({"schedule": "sigmoid"}, "sigmoid"),
        ({"prediction": "x1"}, "x1"),
        ({"channels": 0}, "0"),
        ({"layers": -1}, "-1"),
        ({"width": 1.5}, "1.5"),
        ({"dropout": 1.0}, "1.0"),
        ({"dropout": math.nan}, "nan"),
    ],
)
def test_bad_options_are_refused(options, got):
    with pytest.raises(BadInput) as refused:
        DDPM(DIE, **options)
    assert refused.value.got == got
    assert refused.value.problem.endswith(".")


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 21},
        {"steps": 2.0},
        {"eta": 2},
        {"sampler": "x"},
        {"clip": None},
        {"rounds": 1.5},
        {"guidance": -1},
        {"guidance": 2},  # there is no label
        {"variance": "learned"},
    ],
)
def test_bad_settings_of_sampling_are_refused_and_forgotten(settings, fresh):
    model = make("ddpm", Real((2,)), timesteps=20, width=8, layers=1)
    with pytest.raises(BadInput):
        model.sample(2, generator=0, **settings)
    assert tuple(model.sample(2, generator=0).shape) == (2, 2)


def test_what_is_not_of_the_sampler_is_no_setting():
    with pytest.raises(UnknownName, match="timesteps"):
        DDPM(DIE, width=8, layers=1).sample(2, timesteps=10)


def test_noise_is_not_predicted_where_nothing_but_noise_is_left():
    with pytest.raises(BadInput, match="linear"):
        DDPM(Real((2,)), prediction="eps")
    assert DDPM(DIE, prediction="eps", width=8, layers=1).prediction.name == "eps"  # there the guess is clipped


def test_noise_is_told_apart_from_data_only_by_a_clipped_guess(fresh):
    only_clipped = "x_0 follows from eps only if it is clipped"
    with pytest.raises(BadInput, match=only_clipped):
        DDPM(DIE, prediction="eps", clip=False)
    model = DDPM(DIE, prediction="eps", timesteps=20, width=8, layers=1)
    with pytest.raises(BadInput, match=only_clipped):
        model.sample(2, generator=0, clip=False)
    assert tuple(model.sample(2, generator=0, clip=True).shape) == (2, 1)
    for options in ({"prediction": "eps", "schedule": "linear"}, {"prediction": "v"}, {"prediction": "x0"}):
        free = DDPM(DIE, timesteps=20, width=8, layers=1, **options)
        assert tuple(free.sample(2, generator=0, clip=False).shape) == (2, 1)


def test_range_errors_are_range_errors():
    with pytest.raises(RangeError, match="timesteps = 20"):
        DDPM(DIE, timesteps=20, width=8, layers=1).sample(1, steps=50)
