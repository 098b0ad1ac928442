"""The contract's public verbs: what they check, seed, split and restore around the private mathematics."""

import inspect

import pytest
import torch

from pmodel import Column, Discrete, Real, Table, make
from pmodel.capability import Samples, evaluating
from pmodel.catalogue import able
from pmodel.errors import BadInput, NotSupported, RangeError, ShapeError, UnknownName
from pmodel.learning import Batch, Phase
from pmodel.model import Model
from pmodel.options import options_of
from pmodel.randomness import derive, forked, generator
from pmodel.testing.fitting import learn
from pmodel.wrappers import Dequantised, Standardised
from reference_models import Bell, Chain, Counted, Line, Pair

BITS, DIE, PLANE, LABEL = Discrete((2,), 2), Discrete((1,), 6), Real((2,)), Discrete((), 3)


@pytest.fixture
def die():
    x = torch.tensor([0, 0, 1, 2, 3, 3, 3, 4, 5, 5]).unsqueeze(1)
    return learn(Counted(DIE, smoothing=0.0), Batch(x))


@pytest.fixture
def labelled():
    x = torch.randint(2, (300, 2), generator=generator(0))
    y = torch.tensor([0] * 200 + [1] * 90 + [2] * 10)
    x[y == 1] = 1
    return learn(Counted(BITS, LABEL), Batch(x, y))


class Noted(Bell):
    """Records what reaches the private methods."""

    def __init__(self, domain, given=None, *, layers=(1, 2), rate: float = 0.5, name="a", deep=None):
        super().__init__(domain, given)
        self.seen = []

    def _sample(self, n, given, generator):
        self.seen.append((n, given, self.training, torch.is_grad_enabled()))
        return super()._sample(n, given, generator)

    def _log_prob(self, x, given):
        self.seen.append((len(x), given, self.training, torch.is_grad_enabled()))
        return super()._log_prob(x, given)


# options


def test_options_are_recorded_with_their_defaults_and_as_json():
    model = Noted(PLANE, layers=(3,), deep=[1, "b"])
    assert model.options == {"layers": [3], "rate": 0.5, "name": "a", "deep": [1, "b"]}
    assert model.spec()["options"] == model.options
    assert list(options_of(Noted)) == ["layers", "rate", "name", "deep"]


def test_a_subclass_without_a_constructor_records_its_parents_options():
    class Child(Noted):
        pass

    assert Child(PLANE, rate=2.0).options["rate"] == 2.0
    assert Child(PLANE).spec()["model"] == "Child"


def test_a_subclass_with_a_constructor_records_its_own():
    class Child(Noted):
        def __init__(self, domain, given=None, *, width=3):
            super().__init__(domain, given, rate=9.0)

    assert Child(PLANE).options == {"width": 3}


def test_recording_keeps_the_signature():
    assert list(inspect.signature(Noted.__init__).parameters)[:3] == ["self", "domain", "given"]


def test_a_model_must_be_complete():
    class Nothing(Samples):
        pass

    with pytest.raises(TypeError, match="_sample"):
        Nothing(PLANE)


def test_size_counts_parameters_or_fitted_buffers():
    assert Line(PLANE).size == 3 + 4 + 2
    assert Bell(PLANE).size == 4


# given


def test_labels_are_one_for_all_or_one_each(labelled):
    one = labelled.sample(50, given=1, generator=0)
    assert torch.equal(one, labelled.sample(50, given=torch.ones(50), generator=0))
    assert torch.equal(one, labelled.sample(50, given=torch.tensor(1), generator=0))
    assert torch.equal(one, labelled.sample(50, given=[1] * 50, generator=0))


@pytest.mark.parametrize(
    ("given", "error", "got"),
    [
        (3, RangeError, "3"),
        (-1, RangeError, "-1"),
        ([0, 1], ShapeError, "2 for 4 data"),
        (torch.tensor(0.5), RangeError, "0.5"),
        ([[0], [1], [2], [0]], ShapeError, "(4, 1)"),
        (["a"] * 4, BadInput, "str"),
        ([0, 1, 2, float("nan")], RangeError, "nan"),
    ],
)
@pytest.mark.parametrize("verb", ["sample", "score"])
def test_bad_labels_are_named(labelled, verb, given, error, got):
    data = 4 if verb == "sample" else [[0, 0]] * 4
    with pytest.raises(error) as caught:
        getattr(labelled, verb)(data, given=given)
    assert got in caught.value.got


def test_an_unconditional_model_takes_no_label(die):
    with pytest.raises(BadInput, match="unconditional"):
        die.sample(1, given=0)


def test_without_a_label_samples_and_scores_are_the_mixture(labelled):
    assert labelled.given_frequencies.tolist() == pytest.approx([2 / 3, 0.3, 1 / 30])
    x = torch.tensor([[0, 0], [1, 1]])
    parts = torch.stack([labelled.log_prob(x, given=label) for label in range(3)], 1).exp()
    torch.testing.assert_close(labelled.log_prob(x).exp(), parts @ labelled.given_frequencies)
    frequency = (labelled.sample(20_000, generator=0) == 1).all(1).double().mean()
    assert float(frequency) == pytest.approx(float(labelled.log_prob([[1, 1]]).exp()), abs=0.02)


@pytest.mark.parametrize("verb", ["complete", "encode", "elbo"])
def test_some_verbs_need_the_label(labelled, verb):
    model = labelled if verb == "complete" else make("vae", BITS, LABEL, latent=2, width=4)
    mask = ([True, False],) if verb == "complete" else ()
    with pytest.raises(BadInput, match="needs given= to"):
        getattr(model, verb)([[0, 0]], *mask)


def test_the_condition_is_a_label():
    with pytest.raises(BadInput, match="class label"):
        Counted(BITS, Discrete((2,), 3))
    with pytest.raises(BadInput, match="class label"):
        Counted(BITS, PLANE)


# sampling


def test_none_of_anything(labelled):
    assert labelled.sample(0).shape == (0, 2)
    assert labelled.sample(0).dtype == torch.int64
    assert labelled.score(torch.zeros(0, 2)).values.shape == (0,)
    assert labelled.complete(torch.zeros(0, 2), [True, False], given=[]).shape == (0, 2)


@pytest.mark.parametrize("n", [-1, 1.0, True, "3", None, 2**40])
def test_absurd_numbers_of_samples(die, n):
    with pytest.raises(RangeError, match="n must be a whole number from 0 to"):
        die.sample(n)


def test_seed_generator_and_fresh_entropy(die):
    assert torch.equal(die.sample(99, generator=5), die.sample(99, generator=5))
    assert not torch.equal(die.sample(99, generator=5), die.sample(99, generator=6))
    assert not torch.equal(die.sample(99), die.sample(99))
    noise = generator(1)
    assert not torch.equal(die.sample(99, generator=noise), die.sample(99, generator=noise))


def test_derived_seeds_differ_by_purpose_and_are_stable():
    seeds = {
        derive(0),
        derive(1),
        derive(0, "a"),
        derive(0, "a", 1),
        derive(0, "a1"),
        derive(0, 1),
        derive(0, "train", 1),
    }
    assert len(seeds) == 7
    assert derive(0, "train", 3, "bound", 0) == derive(0, "train", 3, "bound", 0)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_forked_restores_the_global_generator():
    before = torch.get_rng_state()
    with forked(3, "init"):
        first = torch.rand(3)
    with forked(3, "init"):
        assert torch.equal(first, torch.rand(3))
    assert torch.equal(before, torch.get_rng_state())


# splitting, modes and gradients


def test_batches_are_split_and_joined(monkeypatch):
    model = Noted(PLANE).train()
    monkeypatch.setattr(model, "chunk", 8)
    x = torch.randn(10, 2, generator=generator(0))
    whole = Bell(PLANE).log_prob(x)
    torch.testing.assert_close(model.log_prob(x), whole)
    assert model.sample(10, generator=0).shape == (10, 2)
    assert [entry[0] for entry in model.seen] == [4, 4, 2, 4, 4, 2]
    assert {entry[2:] for entry in model.seen} == {(False, False)}
    assert model.training


def test_labels_and_masks_are_split_with_their_data(monkeypatch, labelled):
    x, y = torch.randint(2, (30, 2), generator=generator(0)), torch.arange(30) % 3
    mask = torch.rand(30, 2, generator=generator(1)) < 0.5
    expected = labelled.score(x, given=y, observed=mask).values
    monkeypatch.setattr(labelled, "chunk", 14)
    torch.testing.assert_close(labelled.score(x, given=y, observed=mask).values, expected)
    torch.testing.assert_close(
        labelled.sample(30, given=y, generator=0)[y == 1].float().mean(), torch.tensor(1.0), atol=0.1, rtol=0
    )


class Warm(Bell):
    """Its samples are drawn with a spread of its own choice."""

    adjustable = ("warmth",)
    warmth = 1.0

    def _sample(self, n, given, generator):
        return self.warmth * super()._sample(n, given, generator)

    def _check_sampling(self):
        if not self.warmth > 0:
            raise RangeError("warmth must be above 0.", got=self.warmth)


@pytest.mark.parametrize("wrap", [lambda model: model, Standardised], ids=["bare", "wrapped"])
def test_settings_of_the_sampler_hold_for_one_call(wrap):
    model = wrap(Warm(PLANE))
    plain = model.sample(5, generator=0)
    torch.testing.assert_close(model.sample(5, generator=0, warmth=2.0), 2 * plain)
    assert torch.equal(model.sample(5, generator=0), plain)
    with pytest.raises(RangeError, match=r"(?s)warmth must be above 0.*-1"):
        model.sample(5, warmth=-1)
    assert torch.equal(model.sample(5, generator=0), plain)
    with pytest.raises(UnknownName, match=r"(?s)warmt.*did you mean warmth"):
        model.sample(5, warmt=3)
    with pytest.raises(NotSupported, match=r"(?s)one way only.*steps=3"):
        wrap(Bell(PLANE)).sample(5, steps=3)


def test_a_datum_larger_than_a_chunk_goes_alone(monkeypatch):
    monkeypatch.setattr(Bell, "chunk", 1)
    assert Bell(PLANE).log_prob(torch.zeros(3, 2)).shape == (3,)


def test_every_submodule_gets_its_own_mode_back():
    model = Pair(PLANE)
    model.train()
    model.d.eval()
    with evaluating(model):
        assert not any(part.training for part in model.modules())
        assert not torch.is_grad_enabled()
    assert [model.g.training, model.d.training, model.training] == [True, False, True]
    with pytest.raises(ZeroDivisionError), evaluating(model):
        _ = 1 / 0
    assert [model.g.training, model.d.training] == [True, False]


def test_scores_are_not_computed_under_autocast():
    model, x = Line(PLANE), torch.randn(4, 2, generator=generator(0))
    expected = model.score(x).values
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.score(x).values, expected)


# scores


def test_exact_scores_have_no_error_and_impossible_data_are_counted():
    model = learn(Counted(DIE, smoothing=0.0), Batch(torch.zeros(5, 1, dtype=torch.int64)))
    score = model.score([[0], [1], [5]])
    assert (score.kind, score.estimator, score.mc_stderr, score.impossible, score.n) == ("exact", "exact", None, 2, 3)
    assert score.mean == -float("inf")
    assert score.values.tolist() == [0, -float("inf"), -float("inf")]


def test_a_single_draw_has_no_error_and_no_warning():
    model = Line(PLANE)
    assert model.score(torch.zeros(3, 2), effort=1).mc_stderr is None
    assert model.elbo(torch.zeros(3, 2), effort=1).mc_stderr is None
    assert model.score(torch.zeros(0, 2), effort=4).mc_stderr.shape == (0,)


def test_the_estimator_is_named():
    assert Line(PLANE).score(torch.zeros(1, 2), effort=7).estimator == "importance-weighted, 7 draws"
    assert Line(PLANE).elbo(torch.zeros(1, 2), effort=7).estimator == "evidence lower bound, 7 draws"


@pytest.mark.parametrize("effort", [0, -1, 1.5, True, "16", 10**7])
@pytest.mark.parametrize("verb", ["score", "elbo"])
def test_absurd_efforts(verb, effort):
    with pytest.raises(RangeError, match="effort must be a whole number"):
        getattr(Line(PLANE), verb)(torch.zeros(1, 2), effort=effort)


def test_importance_weights_are_of_the_exact_density():
    model = Line(PLANE)
    x = torch.randn(6, 2, generator=generator(0))
    w, b = model.decoder.weight, model.decoder.bias
    exact = torch.distributions.MultivariateNormal(b, w @ w.T + torch.eye(2)).log_prob(x).detach().double()
    score = model.score(x, effort=20_000)
    assert bool(((score.values - exact).abs() < 6 * score.mc_stderr + 1e-4).all())
    assert bool((model.elbo(x, effort=4000).values < exact + 1e-2).all())


# masks


@pytest.mark.parametrize(
    ("observed", "error", "words"),
    [
        ([1, 0], BadInput, "boolean"),
        ([True], ShapeError, "shape of the data"),
        ([[True, False]] * 2, ShapeError, "shape of the data"),
        (torch.ones(3, 2, 1, dtype=torch.bool), ShapeError, "shape of the data"),
    ],
)
@pytest.mark.parametrize("verb", ["score", "complete"])
def test_bad_masks(verb, observed, error, words):
    model, x = Bell(PLANE), torch.zeros(3, 2)
    with pytest.raises(error, match=words):
        model.score(x, observed=observed) if verb == "score" else model.complete(x, observed)


def test_a_mask_of_one_datum_serves_all(labelled):
    x, y = torch.tensor([[0, 1], [1, 1]]), torch.tensor([0, 1])
    row = torch.tensor([True, False])
    torch.testing.assert_close(
        labelled.log_prob(x, given=y, observed=row), labelled.log_prob(x, given=y, observed=row.expand(2, 2))
    )


def test_a_density_that_cannot_marginalise_says_who_can():
    model = Chain(BITS)
    torch.testing.assert_close(model.log_prob([[0, 1]], observed=[True, True]), model.log_prob([[0, 1]]))
    with pytest.raises(NotSupported, match="Chain cannot marginalise") as caught:
        model.score([[0, 1]], observed=[True, False])
    assert {"gaussian", "mixture", "histogram", "uniform"} <= set(caught.value.hint.replace(",", "").split())


def test_missing_values_of_a_table_are_marginalised_or_refused():
    table = Table((Column("a", missing=True), Column("b", missing=True)))
    x = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]], dtype=torch.float64)
    model = Dequantised(Bell(PLANE), table)
    expected = -0.5 - 0.5 * torch.log(torch.tensor(2 * torch.pi)).double()
    torch.testing.assert_close(model.score(x).values, torch.stack([expected, torch.zeros(()).double()]))
    filled = model.complete(x, [True, True], generator=0)
    assert float(filled[0, 0]) == 1
    assert not bool(filled.isnan().any())
    with pytest.raises(NotSupported, match="cannot marginalise"):
        Dequantised(Line(PLANE), table).score(x)
    with pytest.raises(NotSupported, match="cannot marginalise"):
        Dequantised(Line(PLANE), Table((Column("a", missing=True), Column("b", "stepped", step=1.0)))).elbo(
            [[torch.nan, 0]]
        )


def test_completion_keeps_what_is_observed(labelled):
    x = torch.tensor([[0, 1]] * 40)
    filled = labelled.complete(x, [False, True], given=0, generator=0)
    assert filled[:, 1].unique().tolist() == [1]
    assert filled[:, 0].unique().tolist() == [0, 1]


# what is not there


@pytest.mark.parametrize(
    ("model", "verb", "call"),
    [
        (Pair(PLANE), "score", lambda m: m.score(torch.zeros(1, 2))),
        (Pair(PLANE), "log_prob", lambda m: m.log_prob(torch.zeros(1, 2))),
        (Line(PLANE), "log_prob", lambda m: m.log_prob(torch.zeros(1, 2))),
        (Pair(PLANE), "encode", lambda m: m.encode(torch.zeros(1, 2))),
        (Bell(PLANE), "decode", lambda m: m.decode(torch.zeros(1, 2))),
        (Bell(PLANE), "elbo", lambda m: m.elbo(torch.zeros(1, 2))),
        (Line(PLANE), "complete", lambda m: m.complete(torch.zeros(1, 2), [True, False])),
        (Dequantised(Bell(PLANE), BITS), "encode", lambda m: m.encode([[0, 1]])),
        (Dequantised(Bell(PLANE), BITS), "log_prob", lambda m: m.log_prob([[0, 1]])),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Model) else value if isinstance(value, str) else "",
)
def test_a_missing_verb_names_the_models_that_have_it(model, verb, call):
    assert not model.can(verb)
    with pytest.raises(NotSupported) as caught:
        call(model)
    lacking = model if not isinstance(model, Dequantised) or model.inner.can(verb) else model.inner
    assert caught.value.problem == f"{type(lacking).__name__} cannot {verb}."
    assert all(capability in caught.value.got for capability in model.capabilities)
    assert all(name in caught.value.hint for name in able(verb))


def test_an_unknown_attribute_is_still_an_attribute_error():
    with pytest.raises(AttributeError, match="scoer"):
        Bell(PLANE).scoer  # noqa: B018


def test_what_a_model_can_and_how_it_learns():
    assert set(Bell(PLANE).capabilities) == {"sample", "score", "log_prob", "complete", "marginalise"}
    assert set(Line(PLANE).capabilities) == {"sample", "score", "elbo", "encode", "decode"}
    assert Pair(PLANE).capabilities == ("sample",)
    assert (Bell(PLANE).learns, Line(PLANE).learns) == (("statistics",), ("phases",))
    assert all(isinstance(phase, Phase) for phase in Pair(PLANE).phases())


def test_a_model_without_a_smallest_instance_says_so():
    with pytest.raises(NotSupported, match="no smallest instance"):
        Model.tiny(PLANE)


def test_refusal_of_a_domain_names_what_is_taken():
    assert Model.refuses.__func__(Bell, BITS) == "it takes real data"
    assert Bell.refuses(PLANE) is None
