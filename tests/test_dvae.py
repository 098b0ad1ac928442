"""The discrete VAE: relaxed draws and their bias, the bound against enumeration, hard codes in scores."""

import itertools
import math

import pytest
import torch

import pmodel
from pmodel import Discrete, make
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.approximate.vae.dvae import COLD, DVAE, gumbel_softmax
from pmodel.explicit.approximate.vae.vqvae import VQVAE
from pmodel.learning import Batch
from pmodel.randomness import forked, generator
from pmodel.testing import ConformanceError, conformance
from pmodel.testing.fitting import learn
from pmodel.wrappers import WithPrior

PICTURE = Discrete((1, 8, 8), 2)
BITS = Discrete((3,), 2)
LOGITS = torch.tensor([0.6, -0.4, 0.1], dtype=torch.float64)
MIXED = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
TEMPERATURES = (2.0, 1.0, 0.5, 0.25, 0.12)


def tiny(domain=BITS, **options):
    with forked(0, "init"):
        return DVAE(domain, **{**DVAE.sizes["tiny"], **options})


def fitted():
    x = torch.randint(2, (300, 3), generator=generator(0))
    x[:, 2] = x[:, 0]
    return learn(tiny(warmup=0.0), Batch(x), steps=150)


# relaxed draws


def objective(y):
    """A function of a point of the simplex as a decoder's is: curved, so that its value at a mean is not its mean."""
    return -(y @ MIXED).square() + (y @ MIXED.flip(0)).tanh()


def exact_gradient():
    """Of E f(z) in the logits, by enumeration: sum_k pi_k f(e_k) (1[k = j] - pi_j)."""
    pi, f = LOGITS.softmax(0), objective(torch.eye(3, dtype=torch.float64))
    return pi * (f - pi @ f)


def estimates(temperature, n=400_000, straight=False):
    """One estimate of the gradient for each of n draws, ``(n, 3)``."""
    logits = LOGITS.expand(n, 3).clone().requires_grad_()
    y = gumbel_softmax(logits.log_softmax(-1), temperature, generator(0), straight=straight)
    (gradient,) = torch.autograd.grad(objective(y).sum(), logits)
    return gradient


def test_the_bias_of_the_gradient_falls_with_the_temperature():
    found = [estimates(temperature) for temperature in TEMPERATURES]
    bias = [float((each.mean(0) - exact_gradient()).norm()) for each in found]
    error = [float((each.var(0) / len(each)).sum().sqrt()) for each in found]
    for (before, after), noise in zip(itertools.pairwise(bias), error[1:], strict=True):
        assert after < before - 2 * noise
    assert bias[-1] < 0.1 * bias[0]


def test_its_variance_grows_as_the_temperature_falls():
    spread = [float(estimates(temperature, n=100_000).var(0).sum()) for temperature in TEMPERATURES]
    assert spread == sorted(spread)


def test_straight_through_reads_corners_with_the_gradient_of_relaxed_draws():
    log_pi = LOGITS.log_softmax(0).expand(1000, 3).clone().requires_grad_()
    soft, hard = (gumbel_softmax(log_pi, 0.7, generator(3), straight=straight) for straight in (False, True))
    assert torch.equal(hard.detach().max(1).values.round(), torch.ones(1000))
    torch.testing.assert_close(hard.detach().sum(1), torch.ones(1000, dtype=torch.float64))
    assert torch.equal(soft.argmax(1), hard.argmax(1))
    weights = torch.arange(3, dtype=torch.float64)
    gradients = [torch.autograd.grad((y @ weights).sum(), log_pi, retain_graph=True)[0] for y in (soft, hard)]
    torch.testing.assert_close(*gradients)


def test_corners_are_drawn_with_their_probabilities():
    y = gumbel_softmax(LOGITS.log_softmax(0).expand(100_000, 3), 0.5, generator(0))
    shares = torch.bincount(y.argmax(1), minlength=3) / 1e5
    pi = LOGITS.softmax(0)
    assert float(((shares - pi) / (pi * (1 - pi) / 1e5).sqrt()).abs().max()) < 4
    torch.testing.assert_close(y.sum(1), torch.ones(100_000, dtype=torch.float64))


# the bound


def enumerated(model, x):
    """log p(x, z) for all 16 grids of codes, and log q(z | x), both ``(16, N)``."""
    grids = torch.cartesian_prod(torch.arange(4), torch.arange(4)).reshape(16, 1, 1, 2)
    q = model.encode(x)
    every = [z.expand(len(x), 1, 1, 2) for z in grids]
    log_prior = [getattr(model, "prior", None) for _ in grids]
    log_p = [
        -2 * math.log(4) if prior is None else prior.log_prob(z) for prior, z in zip(log_prior, every, strict=True)
    ]
    joint = torch.stack([model.decode(z).log_prob(x) + p for z, p in zip(every, log_p, strict=True)])
    return joint.double(), torch.stack([q.log_prob(z) for z in every]).double()


@pytest.mark.parametrize("prior", ["none", "auto"])
def test_log_p_is_the_bound_plus_the_divergence_from_the_posterior(prior):
    model = make("dvae", BITS, prior=prior, **DVAE.sizes["tiny"])
    x = torch.randint(2, (300, 3), generator=generator(0))
    learn(model, Batch(x), steps=60)
    x = torch.cartesian_prod(*[torch.arange(2)] * 3)
    joint, log_q = enumerated(model, x)
    exact = joint.logsumexp(0)
    assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-4)
    elbo = (log_q.exp() * (joint - log_q)).sum(0)
    divergence = (log_q.exp() * (log_q - (joint - exact))).sum(0)
    found = model.elbo(x, effort=800)
    assert bool(((found.values - elbo).abs() < 5 * found.mc_stderr + 1e-4).all())
    tight = model.score(x, effort=800)
    assert bool(((tight.values - exact).abs() < 5 * tight.mc_stderr + 1e-4).all())
    gap = exact - found.values
    assert bool(((gap - divergence).abs() < 5 * found.mc_stderr + 1e-4).all())


def test_a_worse_encoder_costs_the_bound_its_divergence():
    """With a gap that is far above the error of the draws: a bound that left log q out, or took another's, would fail."""
    model = fitted()
    x = torch.cartesian_prod(*[torch.arange(2)] * 3)
    joint, _ = enumerated(model, x)
    exact = joint.logsumexp(0)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.mul_(1.5).add_(0.3 * torch.randn(p.shape, generator=generator(1)))
    _, log_q = enumerated(model, x)
    divergence = (log_q.exp() * (log_q - (joint - exact))).sum(0)
    found = model.elbo(x, effort=2000)
    assert float(divergence.max()) > 0.1
    assert float((divergence / found.mc_stderr).max()) > 20
    assert bool(((exact - found.values - divergence).abs() < 5 * found.mc_stderr + 1e-4).all())


def test_the_divergence_in_the_loss_is_that_of_the_whole_grid():
    model, x = tiny(), torch.randint(2, (5, 3), generator=generator(0))
    _, log_q = enumerated(model, x)
    expected = (log_q.exp() * (log_q + 2 * math.log(4))).sum(0).mean()
    parts = model._loss(Batch(x), generator(0)).parts
    torch.testing.assert_close(parts["kl"].double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts["bound"], parts["reconstruction"] - parts["kl"])


def test_scores_are_of_hard_codes_whatever_the_temperature():
    model = fitted()
    x = torch.cartesian_prod(*[torch.arange(2)] * 3)
    found = []
    for temperature in (5.0, 0.1):
        model.temperature = temperature
        found.append(model.score(x, effort=200).values)
    torch.testing.assert_close(*found)
    assert model.encode(x).sample(generator(0)).dtype == torch.int64


def test_temperature_falls_and_the_weight_of_the_kl_grows():
    model = tiny(temperature=2.0, coldest=0.5, warmup=0.4)
    seen = []
    for progress in (0.0, 0.2, COLD / 2, COLD, 1.0):
        model.advance(progress)
        seen.append((model.temperature, model.annealing))
    temperatures, weights = zip(*seen, strict=True)
    assert temperatures == pytest.approx((2.0, 2.0 * 4 ** (-0.2 / COLD), 1.0, 0.5, 0.5))
    assert weights == pytest.approx((0.0, 0.5, COLD / 0.8, 1.0, 1.0))


def test_make_gives_it_a_prior_and_one_command_trains_both():
    model = pmodel.fit("dvae", "digits", size="tiny", steps=60)
    assert isinstance(model, WithPrior)
    assert model.sample(5, generator=0).shape == (5, 1, 8, 8)
    assert model.score(model.sample(5, generator=0)).kind == "lower_bound"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"temperature": 0.1, "coldest": 0.5}, RangeError, "coldest=0.5"),
        ({"coldest": 0.0}, RangeError, "coldest=0.0"),
        ({"temperature": math.inf}, RangeError, "inf"),
        ({"beta": -0.5}, RangeError, "beta=-0.5"),
        ({"warmup": 2.0}, RangeError, "warmup=2.0"),
        ({"codes": 1}, RangeError, "codes"),
        ({"likelihood": "normal"}, BadInput, "likelihood"),
    ],
)
def test_options_out_of_range_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        DVAE(PICTURE, **options)


# planted bugs


class ScoresRelaxed(DVAE):
    """The bound of what was trained: with a mixture of codes, it bounds nothing."""

    def _log_weight_under(self, q, x, given, generator):
        log_pi = q.logits.log_softmax(-1).squeeze(1)
        y = gumbel_softmax(log_pi, 1.0, generator)
        divergence = (y * log_pi).flatten(1).sum(1) + self.grid.entries * math.log(self.grid.levels)
        return self._written(y @ self.vectors, given).log_prob(x) - divergence


class ForgetsThePrior(VQVAE):
    """Reconstruction for likelihood."""

    usual_prior = None

    def _log_weight_under(self, seen, x, given, generator):
        return super()._log_weight_under(seen, x, given, generator) - self._log_uniform


class FollowsAlways(VQVAE):
    """The codebook goes on learning from whatever is encoded."""

    def _encode(self, x, given):
        q = super()._encode(x, given)
        self.codebook.follow(self._read(x).flatten(0, -2), q.x.flatten(), generator(0), restart=False)
        return q


def breaks(model, law):
    """Whether a model breaks a law of the suite on bits."""
    (check,) = [check for check in conformance(model) if (check.case, check.law) == ("bits", law)]
    try:
        check()
    except ConformanceError:
        return True
    return False


@pytest.mark.parametrize(
    ("mutant", "law"),
    [(ForgetsThePrior, "bounds_lie_below_the_frequencies"), (FollowsAlways, "verbs_change_no_tensor")],
)
def test_planted_bug_is_caught_by_the_suite(mutant, law):
    assert breaks(mutant, law)
    assert not breaks(VQVAE, law)


def test_scores_of_relaxed_codes_are_caught_by_enumeration():
    x, agree = torch.cartesian_prod(*[torch.arange(2)] * 3), []
    for cls in (DVAE, ScoresRelaxed):
        with forked(0, "init"):
            model = cls(BITS, **{**DVAE.sizes["tiny"], "warmup": 0.0, "beta": 0.2})
        data = torch.randint(2, (300, 3), generator=generator(0))
        learn(model, Batch(data), steps=200)
        joint, _ = enumerated(model, x)
        score = model.score(x, effort=2000)
        agree.append(bool(((score.values - joint.logsumexp(0)).abs() < 5 * score.mc_stderr + 1e-3).all()))
    assert agree == [True, False]
