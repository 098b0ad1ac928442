"""``make`` puts the right wrappers around a model, and ``build`` reads back what was recorded."""

import pytest

import pmodel
from pmodel.construction import build, make
from pmodel.domain import Column, Discrete, Real, Table
from pmodel.errors import BadInput, NotSupported, UnknownName

LABEL = Discrete((), 3)
HOLES = Table((Column("a", missing=True), Column("b", "stepped", step=0.5)))


def nesting(model):
    return [type(part).__name__ for part in model.nested]


@pytest.mark.parametrize(
    ("name", "domain", "given", "expected"),
    [
        ("gaussian", Real((2,)), None, ["Standardised", "Gaussian"]),
        ("gaussian", Discrete((2,), 5), None, ["Dequantised", "Standardised", "Gaussian"]),
        ("gaussian", HOLES, None, ["Dequantised", "Standardised", "Gaussian"]),
        ("gaussian", Real((2,)), LABEL, ["ByClass", "Standardised", "Gaussian"]),
        ("histogram", Discrete((2,), 5), None, ["Histogram"]),
        ("histogram", Discrete((2,), 5), LABEL, ["ByClass", "Histogram"]),
        ("mixture", Discrete((1, 8, 8), 17), None, ["Mixture"]),
        ("mixture", Discrete((1, 8, 8), 256), None, ["Dequantised", "Standardised", "Mixture"]),
        ("vae", Discrete((1, 8, 8), 17), LABEL, ["VAE"]),
        ("vae", Real((2,)), None, ["Standardised", "VAE"]),
        ("dcgan", Discrete((1, 8, 8), 17), LABEL, ["DCGAN"]),
    ],
)
def test_the_wrappers_are_those_that_the_domain_needs(name, domain, given, expected):
    model = make(name, domain, given)
    assert nesting(model) == expected
    assert model.domain == domain
    assert model.given == given
    again = build(model.spec())
    assert again.spec() == model.spec()
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_in_an_autoencoder_with_a_prior_is_the_autoencoder():
    model = make("autoencoder", Real((2,)), prior="gaussian")
    assert nesting(model) == ["Standardised", "WithPrior", "Autoencoder"]
    assert nesting(model.inner.prior) == ["Standardised", "Gaussian"]
    assert [part.inner for part in model.nested] == [*model.nested[1:], None]


@pytest.mark.parametrize(
    ("name", "domain", "text"),
    [
        ("dcgan", Real((2,)), "pictures"),
        ("dcgan", Discrete((2,), 2), "pictures"),
        ("vae", HOLES, "'a'"),
    ],
)
def test_data_that_a_model_cannot_take_are_refused_in_words(name, domain, text):
    with pytest.raises(NotSupported) as caught:
        make(name, domain)
    assert text in str(caught.value)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean mixture"):
        make("mixtur", Real((2,)))
    with pytest.raises(UnknownName, match="did you mean components"):
        make("mixture", Real((2,)), component=3)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("gan", {"penalty": "x"}, "penalty of gan must be a number"),
        ("gan", {"changes": 3}, "changes of gan must be a list"),
        ("gan", {"loss": ["hinge"]}, "loss of gan must be relativistic or"),
    ],
)
def test_a_value_of_another_type_is_refused_in_words(name, options, text):
    with pytest.raises(BadInput, match=text):
        make(name, Real((2,)), **options)


def test_a_type_error_of_the_program_stays_one(monkeypatch):
    def broken(*_, **__):
        raise TypeError("a slip")

    monkeypatch.setattr("pmodel.construction.wrapped", broken)
    with pytest.raises(TypeError, match="a slip"):
        make("gan", Real((2,)), penalty=1.0)


def test_a_specification_cannot_be_nested_without_end():
    spec = make("gaussian", Real((1,))).spec()
    for _ in range(20):
        spec = {"model": "Standardised", "inner": spec}
    with pytest.raises(BadInput, match="eight deep"):
        build(spec)


def test_the_same_seed_makes_the_same_weights():
    first, again, other = (make("vae", Discrete((4,), 2), seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(bool((first[name] == again[name]).all()) for name in first)
    assert any(bool((first[name] != other[name]).any()) for name in first)


def test_the_public_names_are_there():
    assert pmodel.__all__ == sorted(pmodel.__all__)
    assert all(getattr(pmodel, name) is not None for name in pmodel.__all__)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = pmodel.nothing_such
