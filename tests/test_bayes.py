"""Bayes' theorem over models: against enumeration, closed forms and scikit-learn's naive Bayes."""

import itertools
import math

import numpy as np
import pytest
import torch

import two_bits
from pmodel import Discrete, Real, load_data, make
from pmodel.domain import Sequences
from pmodel.errors import BadInput, NotSupported, RangeError, ShapeError
from pmodel.explicit.tractable.histogram import Histogram
from pmodel.explicit.tractable.mixture import Mixture
from pmodel.learning import Batch
from pmodel.randomness import forked
from pmodel.tasks import conditional, evidence, posterior, predicted, responsibilities
from pmodel.testing.fitting import learn
from reference_models import Line

LABEL = Discrete((), 3)
STATES = torch.tensor(list(itertools.product(range(3), repeat=3)))
PATTERNS = [torch.tensor(p) for p in itertools.product([False, True], repeat=3)]


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def labelled_digits(n=900):
    y = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), n, replacement=True, generator=noise())
    x = (torch.randint(2, (n, 3), generator=noise(1)) + torch.randint(2, (n, 3), generator=noise(2)) * y[:, None]) % 3
    return Batch(x, y)


@pytest.fixture(scope="module")
def model():
    return learn(make("histogram", Discrete((3,), 3), LABEL, smoothing=0.5), labelled_digits())


@pytest.fixture(scope="module")
def table(model):
    """P(x, y) over all 27 states and 3 labels."""
    likelihood = torch.stack([model.log_prob(STATES, given=y).exp() for y in range(3)], 1)
    return likelihood * model.given_frequencies


@pytest.mark.parametrize("mask", PATTERNS, ids=str)
def test_posterior_and_evidence_are_sums_over_the_joint_table(model, table, mask):
    agree = ((STATES[:, None] == STATES) | ~mask).all(2).double()
    joint = agree @ table
    found = posterior(model, STATES, mask)
    torch.testing.assert_close(found.probs, joint / joint.sum(1, keepdim=True), rtol=0, atol=1e-12)
    assert (found.kind, found.estimator, int(found.impossible.sum())) == ("exact", "exact", 0)
    sums = evidence(model, STATES, mask)
    torch.testing.assert_close(sums.values.exp(), joint.sum(1), rtol=0, atol=1e-12)
    torch.testing.assert_close(sums.values, model.log_prob(STATES, observed=mask))
    assert sums.kind == "exact"


def test_another_prior_counts_instead_of_the_frequencies(model, table):
    prior = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    joint = table / model.given_frequencies * prior
    found = posterior(model, STATES, prior=prior.tolist())
    torch.testing.assert_close(found.probs, joint / joint.sum(1, keepdim=True), rtol=0, atol=1e-12)
    assert torch.equal(found.labels, joint.argmax(1))
    values = evidence(model, STATES, prior=prior).values
    torch.testing.assert_close(values.exp(), joint.sum(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("part", "given"), [(p, g) for p in PATTERNS for g in PATTERNS if not bool((p & g).any())])
def test_a_conditional_is_a_ratio_of_sums(model, table, part, given):
    def mass(mask):
        return ((STATES[:, None] == STATES) | ~mask).all(2).double() @ table.sum(1)

    found = conditional(model, STATES, part, given)
    torch.testing.assert_close(found.values.exp(), mass(part | given) / mass(given), rtol=0, atol=1e-12)
    assert found.kind == "exact"


def test_the_product_rule_chains(model):
    one, two, three = torch.eye(3, dtype=torch.bool)
    none = torch.zeros(3, dtype=torch.bool)
    steps = [(one, none), (two, one), (three, one | two)]
    chain = sum(conditional(model, STATES, part, known).values for part, known in steps)
    torch.testing.assert_close(chain, model.log_prob(STATES), rtol=0, atol=1e-12)


def test_a_conditional_of_a_gaussian_is_the_schur_complement():
    x = torch.randn(400, 3, generator=noise(), dtype=torch.float64) @ torch.tensor(
        [[1.0, 0.3, -0.5], [0, 2.0, 0.7], [0, 0, 0.4]], dtype=torch.float64
    )
    model = learn(make("gaussian", Real((3,))), Batch(x))
    scale, inner = model.scale, model.model
    mu, sigma = inner.mu * scale + model.loc, inner.sigma * torch.outer(scale, scale)
    gain = sigma[0, 1:] @ torch.linalg.inv(sigma[1:, 1:])
    left = sigma[0, 0] - gain @ sigma[1:, 0]
    expected = torch.distributions.Normal(mu[0] + (x[:, 1:] - mu[1:]) @ gain, left.sqrt()).log_prob(x[:, 0])
    first = torch.tensor([True, False, False])
    torch.testing.assert_close(conditional(model, x, first, ~first).values, expected)


def test_naive_bayes_is_scikit_learns():
    from sklearn.naive_bayes import CategoricalNB

    data = labelled_digits()
    model = learn(make("histogram", Discrete((3,), 3), LABEL, joint=False, smoothing=1.0), data)
    oracle = CategoricalNB(alpha=1.0).fit(data.x.numpy(), data.given.numpy())
    expected = torch.from_numpy(oracle.predict_log_proba(STATES.numpy()))
    torch.testing.assert_close(posterior(model, STATES).log_probs, expected)


def test_quadratic_discriminants_are_scikit_learns():
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

    y = torch.arange(600) % 3
    x = torch.randn(600, 2, generator=noise(), dtype=torch.float64) * (1 + y[:, None]) + y[:, None]
    model = learn(make("gaussian", Real((2,)), LABEL, floor=1e-12), Batch(x, y))
    oracle = QuadraticDiscriminantAnalysis(store_covariance=True).fit(x.numpy(), y.numpy())
    found = posterior(model, x).probs
    # scikit-learn divides covariances by n - 1
    np.testing.assert_allclose(found.numpy(), oracle.predict_proba(x.numpy()), atol=0.02)
    assert (found.argmax(1).numpy() == oracle.predict(x.numpy())).mean() > 0.99


def test_what_is_impossible_under_every_label_keeps_the_prior():
    y = torch.tensor([0, 0, 0, 1])
    model = learn(make("histogram", Discrete((1,), 4), Discrete((), 2)), Batch(y[:, None], y))
    found = posterior(model, [[0], [1], [3]])
    assert found.impossible.tolist() == [False, False, True]
    torch.testing.assert_close(found.probs, torch.tensor([[1, 0], [0, 1], [0.75, 0.25]], dtype=torch.float64))


@pytest.fixture(scope="module")
def by_length():
    """Label 0 has sequences of one symbol, four of five times a 1, and twice as many data; label 1 has 1111."""
    x = torch.full((15, 4), 2)
    x[:10, 0] = torch.tensor([1] * 8 + [0] * 2)
    x[10:] = 1
    model = make("hmm", Sequences(Discrete((), 2), 4), Discrete((), 2), states=1, shrinkage=0.0)
    return learn(model, Batch(x, (x[:, 1] == 1).long()))


def test_the_lengths_of_sequences_say_something_of_their_labels(by_length):
    x = [[1], [1, 1, 1, 1], [0], [1, 1]]
    found, sums = posterior(by_length, x), evidence(by_length, x)
    assert sums.values.exp().tolist() == pytest.approx([0.8, 1, 0.2, (2 * 0.64 + 1) / 3], abs=1e-12)
    torch.testing.assert_close(sums.values, by_length.log_prob(x), rtol=0, atol=1e-12)
    assert found.probs[:3].tolist() == [[1, 0], [0, 1], [1, 0]]
    assert found.probs[3].tolist() == pytest.approx([1.28 / 2.28, 1 / 2.28], abs=1e-12)  # no label has this length


def test_another_prior_of_sequences_leaves_the_lengths_their_say(by_length):
    x, prior = [[1], [1, 1]], [0.25, 0.75]
    found = posterior(by_length, x, prior=prior)
    assert found.probs[0].tolist() == [1, 0]
    assert found.probs[1, 0].item() == pytest.approx(0.16 / 0.91, abs=1e-12)
    assert evidence(by_length, x, prior=prior).values.exp().tolist() == pytest.approx([0.8, 0.91], abs=1e-12)
    assert found.log_probs.shape == (2, 2)


class Shifted(Line):
    """A linear latent model of x less twice its label."""

    def _log_weight(self, x, given, generator):
        return super()._log_weight(x - 2 * given[:, None], given, generator)


def test_a_posterior_from_bounds_is_an_estimate_that_approaches_the_exact_one():
    with forked(0):
        model = Shifted(Real((2,)), LABEL)
    model.log_s.data.fill_(0.7)  # an approximate posterior twice too wide: the gap of the bound is no matter of chance
    y = torch.arange(60) % 3
    x = torch.randn(60, 2, generator=noise()) + 2.0 * y[:, None]
    W, b = model.decoder.weight.detach().double(), model.decoder.bias.detach().double()
    marginal = torch.distributions.MultivariateNormal(b, W @ W.T + torch.eye(2))
    joint = torch.stack([marginal.log_prob(x.double() - 2 * label) for label in range(3)], 1) - math.log(3)
    few, many = (posterior(model, x, effort=effort) for effort in (4, 512))
    errors = [(found.probs - joint.softmax(1)).abs().mean() for found in (few, many)]
    assert errors[1] < min(errors[0] / 2, 0.02)
    assert (many.kind, many.estimator) == ("estimate", "importance-weighted, 512 draws")
    bound = evidence(model, x, effort=4)
    assert bound.kind == "lower_bound"
    assert (bound.values - joint.logsumexp(1)).mean() < 0 < (many.labels == y).double().mean() - 0.7


def test_a_dequantised_posterior_says_that_it_is_estimated():
    data = labelled_digits()
    model = learn(make("gaussian", Discrete((3,), 3), LABEL), data)
    assert posterior(model, STATES).kind == "estimate"
    assert torch.equal(posterior(model, STATES).log_probs, posterior(model, STATES).log_probs)
    assert conditional(model, STATES, PATTERNS[1], PATTERNS[4]).kind == "estimate"


@pytest.mark.parametrize("mask", PATTERNS, ids=str)
def test_responsibilities_are_bayes_over_the_components(mask):
    model = learn(Mixture(Discrete((3,), 3), components=4), Batch(labelled_digits().x))
    tables = model.parts.table
    joint = model.weights.expand(len(STATES), -1).clone()
    for entry in mask.nonzero()[:, 0].tolist():
        joint *= tables[:, entry, :].T[STATES[:, entry]]
    found = responsibilities(model, STATES, mask)
    torch.testing.assert_close(found.probs, joint / joint.sum(1, keepdim=True), rtol=0, atol=1e-12)
    torch.testing.assert_close(joint.sum(1).log(), model.log_prob(STATES, observed=mask))


def test_responsibilities_of_a_standardised_mixture_are_scikit_learns():
    from sklearn.mixture import GaussianMixture

    x = torch.randn(500, 2, generator=noise(), dtype=torch.float64) + 4.0 * (torch.arange(500) % 2)[:, None]
    model = learn(make("mixture", Real((2,)), components=2), Batch(x))
    oracle = GaussianMixture(2)
    oracle.weights_ = model.model.weights.numpy()
    oracle.means_ = (model.model.means * model.scale + model.loc).numpy()
    inverse = [torch.linalg.inv(f) / model.scale for f in model.model.parts.scale_tril]
    oracle.precisions_cholesky_ = torch.stack(inverse).mT.numpy()
    np.testing.assert_allclose(responsibilities(model, x).probs.numpy(), oracle.predict_proba(x.numpy()), atol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda m: posterior(Histogram(Discrete((3,), 3)), STATES), BadInput, "unconditional"),
        (lambda m: posterior(m, STATES, prior=[0.5, 0.5]), ShapeError, "3 labels"),
        (lambda m: posterior(m, STATES, prior=[0.5, 0.6, 0.1]), RangeError, "0.6"),
        (lambda m: posterior(m, STATES, prior=[1.5, -0.5, 0.0]), RangeError, "-0.5"),
        (
            lambda m: posterior(make("dcgan", Discrete((1, 8, 8), 2), LABEL), torch.zeros(1, 1, 8, 8)),
            NotSupported,
            "score",
        ),
        (lambda m: conditional(m, STATES, PATTERNS[7], PATTERNS[1]), BadInput, "27 entries"),
        (lambda m: responsibilities(m, STATES), NotSupported, "ByClass"),
    ],
)
def test_refuses(model, call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(model)


def test_two_bits_agree_with_the_table(capsys):
    two_bits.main()
    assert "P(a | b)  by Bayes' theorem: [[0.4, 0.6], [0.2, 0.8]]" in capsys.readouterr().out
    assert two_bits.counted(load_data("bits").train.x[:]).tolist() == [[0.2, 0.1], [0.3, 0.4]]


def test_predictions_against_scikit_learn_and_by_hand():
    from sklearn.metrics import log_loss

    logits = torch.randn(1000, 4, generator=noise(), dtype=torch.float64)
    y = torch.randint(4, (1000,), generator=noise(1))
    found = predicted(logits.log_softmax(1), y)
    assert found.log_loss == pytest.approx(log_loss(y.numpy(), logits.softmax(1).numpy()))
    assert found.accuracy == pytest.approx((logits.argmax(1) == y).double().mean().item())
    sure = torch.tensor([[0.8, 0.2]] * 10, dtype=torch.float64).log()
    labels = torch.tensor([0] * 8 + [1] * 2)
    assert predicted(sure, labels).calibration_error == pytest.approx(0, abs=1e-12)
    assert predicted(sure, 1 - labels).calibration_error == pytest.approx(0.6)


def test_true_probabilities_are_calibrated():
    logits = 2 * torch.randn(50_000, 3, generator=noise(), dtype=torch.float64)
    y = torch.multinomial(logits.softmax(1), 1, generator=noise(1))[:, 0]
    assert predicted(logits.log_softmax(1), y).calibration_error < 0.01
    assert predicted((3 * logits).log_softmax(1), y).calibration_error > 0.1


@pytest.mark.parametrize(
    ("log_probs", "y", "error", "got"),
    [
        (torch.zeros(3, 2), torch.zeros(2).long(), ShapeError, r"\(3, 2\)"),
        (torch.zeros(2, 2), torch.zeros(2).long(), BadInput, "2.0"),
        (torch.full((2, 2), math.log(0.5)), torch.tensor([0, 2]), RangeError, "2"),
        (torch.full((2, 2), math.log(0.5)), torch.tensor([1, -3]), RangeError, "-3"),
        (torch.tensor([[0.5, 0.5], [0.5, 0.25]], dtype=torch.float64).log(), torch.zeros(2).long(), BadInput, "0.75"),
        (torch.zeros(0, 2), torch.zeros(0).long(), BadInput, "0"),
    ],
)
def test_refuses_predictions(log_probs, y, error, got):
    with pytest.raises(error, match=got):
        predicted(log_probs, y)
