"""The transformer: what may depend on what, that it is a distribution, that its cache changes nothing, and completion."""

import itertools
import math

import pytest
import torch

import pmodel
from pmodel.data import datasets
from pmodel.domain import Discrete, Real, Sequences
from pmodel.errors import BadInput, PmodelError, RangeError
from pmodel.explicit.tractable.autoregressive import completing
from pmodel.explicit.tractable.autoregressive.categories import inverse_cdf
from pmodel.explicit.tractable.autoregressive.tokens.ngram import NGram
from pmodel.explicit.tractable.autoregressive.tokens.token_writing import Draws
from pmodel.explicit.tractable.autoregressive.tokens.transformer import Transformer
from pmodel.explicit.tractable.autoregressive.tokens.transformer_stack import Cache, Stack
from pmodel.explicit.tractable.autoregressive.tokens.transformer_tokens import Patches
from pmodel.learning import Batch
from pmodel.testing.fitting import learn
from pmodel.testing.measure import Masses, Nodes, chi_square

HERE = {row.name: row for row in datasets()}

needs_mnist = pytest.mark.skipif(not HERE["mnist"].offline, reason="no mnist on this machine")

LABELS = 3
STRING = Sequences(Discrete((), 3), 4, ends=True)
PICTURES = [  # shape, levels, patch: some sides are no multiple of the patch
    ((1, 3, 3), 2, 2),
    ((1, 3, 4), 2, 1),
    ((1, 2, 5), 2, 3),
    ((1, 2, 3), 3, 2),
    ((3, 2, 1), 3, 2),
    ((3, 1, 2), 4, 1),
    ((5,), 3, 2),
    ((2, 3), 3, 6),
    ((), 5, 4),
]


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def random_model(domain, *, labelled=False, dtype=torch.float64, **options):
    """A model whose weights are all random, and large enough for effects to be seen from afar."""
    options = {"layers": 2, "width": 16, "heads": 2, "hidden": 32, **options}
    model = Transformer(domain, Discrete((), LABELS) if labelled else None, **options).to(dtype).eval()
    generator = noise(7)
    with torch.no_grad():
        for weight in model.parameters():
            fan_in = weight.shape[-1] if weight.ndim == 2 else weight.shape[-2] if weight.ndim == 3 else 1
            weight.copy_(1.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64) / math.sqrt(fan_in))
    return model


def every_datum(domain):
    """All data of a small domain."""
    states = torch.cartesian_prod(*[torch.arange(domain.levels)] * domain.entries)
    return states.reshape(-1, *domain.shape)


def every_string(domain):
    shortest = 0 if domain.ends else 1
    lengths = range(shortest, domain.longest + 1)
    levels = range(domain.element.levels)
    return [torch.tensor(s, dtype=torch.int64) for length in lengths for s in itertools.product(levels, repeat=length)]


@torch.no_grad()
def factors(model, x, given=None):
    """The log-factors of the entries in their order, ``(N, D)``."""
    tokens = model.patches.split(x)
    each = model.head.log_prob(model.stack(model.embedding(tokens, given)), tokens)
    return each[:, model.patches.real(x.device)]


def misfit(drawn_ones, states, p, levels):
    """By how many standard deviations draws differ from the probabilities of all states."""
    order = (states.flatten(1) * levels ** torch.arange(states[0].numel() - 1, -1, -1)).sum(1).argsort()
    states, p = states[order], p[order]
    masses = Masses(Nodes(states, torch.ones_like(p)), p, torch.zeros_like(p))
    return chi_square(drawn_ones, masses, Discrete(states.shape[1:], levels), clamped=False)


# Patches, and the order of the entries


def test_patches_go_row_by_row_and_pixels_and_channels_within_them():
    x = torch.arange(3 * 4 * 4).reshape(1, 3, 4, 4)  # channel c, row i, column j holds 16 c + 4 i + j
    tokens = Patches((3, 4, 4), 2, image=True).split(x)[0]
    assert tokens[1].tolist() == [2, 18, 34, 3, 19, 35, 6, 22, 38, 7, 23, 39]
    assert tokens[:, 0].tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize(("shape", "levels", "patch"), PICTURES)
def test_patches_are_put_together_again(shape, levels, patch):
    patches = Patches(shape, patch, image=len(shape) == 3)
    x = torch.randint(0, levels, (4, *shape), generator=noise())
    assert torch.equal(patches.join(patches.split(x)), x)
    assert int(patches.real(x.device).sum()) == math.prod(shape)


# What depends on what


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("shape", "levels", "patch"), PICTURES)
def test_factors_depend_on_every_earlier_entry_and_no_later_one(shape, levels, patch, labelled):
    model = random_model(Discrete(shape, levels), patch=patch, labelled=labelled)
    x = torch.randint(0, levels, (1, *shape), generator=noise(1))
    there = model.patches.real(x.device)
    places = model.patches.split(torch.arange(x.numel()).reshape(x.shape))[0][there]  # of the entries, in their order
    changed = x.flatten().repeat(1 + len(places), 1)
    for number, place in enumerate(places):
        changed[1 + number, place] = (changed[0, place] + 1) % levels
    given = torch.ones(len(changed), dtype=torch.int64) if labelled else None
    table = factors(model, changed.reshape(-1, *shape), given)
    effect = (table[1:] - table[0]).abs()  # of the entry that is changed (row) on a factor (column)
    later = torch.ones(len(places), len(places)).triu(1).bool()
    assert (effect[later] > 1e-9).all()
    assert (effect[later.T] < 1e-13).all()


def test_no_gradient_comes_from_a_later_patch():
    model = random_model(Discrete((1, 28, 28), 2), patch=4)
    x = torch.randint(0, 2, (1, 1, 28, 28), generator=noise())
    inputs = model.embedding(model.patches.split(x), None).detach().requires_grad_()
    features = model.stack(inputs)
    (gradient,) = torch.autograd.grad(features[0, 20].sum(), inputs)
    moved = gradient[0].abs().sum(1) > 0
    assert moved[:21].all()
    assert not moved[21:].any()


def test_string_knows_its_own_past_only():
    model = random_model(Sequences(Discrete((), 5), 7))
    x = torch.randint(0, 5, (1, 7), generator=noise())
    changed = x.repeat(7, 1)
    changed[range(7), range(7)] = (x[0] + 1) % 5
    effect = (factors(model, changed) - factors(model, x)).abs()
    later = torch.ones(7, 7).triu(1).bool()
    assert (effect[later] > 1e-9).all()
    assert (effect[later.T] < 1e-13).all()


# That it is a distribution


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("shape", "levels", "patch"), PICTURES)
def test_probabilities_sum_to_one(shape, levels, patch, labelled):
    model = random_model(Discrete(shape, levels), patch=patch, labelled=labelled)
    x = every_datum(model.domain)
    for given in range(LABELS) if labelled else [None]:
        assert float(model.log_prob(x, given=given).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_strings_that_end_sum_to_one_over_all_lengths():
    model = random_model(STRING)
    assert float(model.log_prob(every_string(STRING)).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_sequences_that_do_not_end_sum_to_one_for_each_length():
    domain = Sequences(Discrete((), 3), 4)
    model = random_model(domain)
    strings = every_string(domain)
    p, lengths = model.log_prob(strings).exp(), torch.tensor([len(s) for s in strings])
    assert [float(p[lengths == length].sum()) for length in range(1, 5)] == pytest.approx([1] * 4, abs=1e-12)


def test_end_is_scored_once_and_a_cut_string_has_none():
    model = random_model(STRING)
    longest = [torch.tensor([2, 0, 1, symbol]) for symbol in range(3)]
    cut = model.log_prob(longest).logsumexp(0)
    stopped = model.log_prob([torch.tensor([2, 0, 1])])[0]
    start = factors(model, torch.tensor([[2, 0, 1, 0]]))[0, :3].sum()
    assert float(torch.logaddexp(cut, stopped)) == pytest.approx(float(start), abs=1e-12)


def test_what_fills_up_a_sequence_changes_nothing():
    model = random_model(Sequences(Discrete((), 3), 6))
    short = Sequences(Discrete((), 3), 3)
    other = random_model(short)
    other.load_state_dict(model.state_dict() | {"length_frequencies": other.length_frequencies})
    x = [torch.tensor([2, 1]), torch.tensor([0, 0, 1])]
    torch.testing.assert_close(model.log_prob(x), other.log_prob(x))


# The cache


def test_stack_reads_in_pieces_what_it_reads_at_once():
    stack = Stack(3, 16, 2).double().eval()
    h = torch.randn(4, 9, 16, generator=noise(), dtype=torch.float64)
    cache = Cache(stack, 4, 9)
    parts = torch.cat([stack(part, cache) for part in h.split([3, 1, 2, 3], 1)], 1)
    torch.testing.assert_close(parts, stack(h))


def test_cache_goes_on_with_chosen_sequences():
    stack = Stack(2, 16, 2).double().eval()
    h = torch.randn(3, 5, 16, generator=noise(), dtype=torch.float64)
    cache, rows = Cache(stack, 3, 5), torch.tensor([2, 2, 0])
    stack(h[:, :4], cache)
    cache.select(rows)
    torch.testing.assert_close(stack(h[rows, 4:], cache), stack(h[rows])[:, 4:])


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("domain", [Discrete((1, 6, 5), 2), Discrete((3, 3, 2), 4), Discrete((7,), 3), STRING])
def test_cached_drawing_equals_the_plain_loop(domain, labelled):
    model = random_model(domain, patch=2, labelled=labelled)
    given = torch.arange(20) % LABELS if labelled else None
    x = model.sample(20, given=given, generator=noise(3))
    patches = model.patches
    u = torch.rand(patches.tokens, 20, patches.entries, generator=noise(3), dtype=torch.float64)
    tokens, real = torch.zeros(20, patches.tokens, patches.entries, dtype=torch.int64), patches.real(x.device).tolist()
    with torch.no_grad():
        for t in range(patches.tokens):
            features = model.stack(model.embedding(tokens, given))[:, t]
            tokens[:, t], _ = model.head.draw(features, u[t], tokens[:, t], None, real[t], Draws())
    plain = patches.join(tokens)
    if domain is STRING:
        over = (plain == domain.end).cumsum(1) > 0
        plain = plain.masked_fill(over, domain.end)
    assert torch.equal(x, plain)


@pytest.mark.parametrize("domain", [Discrete((1, 2, 3), 3), STRING])
def test_samples_follow_the_probabilities(domain):
    model = random_model(domain, patch=2)
    x = domain.check(every_string(domain)) if domain is STRING else every_datum(domain)
    assert misfit(model.sample(20_000, generator=1), x, model.log_prob(x).exp(), model.levels) < 4


# Completion


def test_beginning_of_a_string_is_continued_exactly():
    domain = Sequences(Discrete((), 5), 6, ends=True)
    model = random_model(domain)
    x = domain.check([torch.tensor([3, 1, 4, 1])])
    observed = torch.tensor([True] * 2 + [False] * 4)
    endings = [torch.tensor([3, 1, *s]) for n in range(5) for s in itertools.product(range(5), repeat=n)]
    states = domain.check(endings)
    assert len(states) > completing.STATES
    drawn_ones = model.complete(x.repeat(20_000, 1), observed, generator=1)
    assert misfit(drawn_ones, states, model.log_prob(states).softmax(0), 6) < 4


@pytest.mark.parametrize(("particles", "low", "high"), [(1, 4.5, math.inf), (64, -4.0, 4.0)])
@pytest.mark.parametrize("last", [2, 5])
def test_particles_reach_what_is_observed_further_on(particles, low, high, last):
    """The string holds a symbol, or the end, at its fifth place: until then it goes on, or may have ended."""
    domain = Sequences(Discrete((), 5), 5, ends=True)
    model = random_model(domain, particles=particles)
    x = torch.tensor([[0, 0, 0, 0, last]])
    strings = domain.check(every_string(domain))
    states = strings[strings[:, 4] == last]
    drawn_ones = model.complete(x.repeat(500, 1), torch.tensor([False] * 4 + [True]), generator=1)
    assert (drawn_ones[:, 4] == last).all()
    p = model.log_prob(states).softmax(0)
    assert low <= misfit(drawn_ones[:, :2], *pooled(states[:, :2], p), 6) < high


def pooled(states, p):
    """The probabilities of distinct states."""
    distinct, places = torch.unique(states, dim=0, return_inverse=True)
    return distinct, torch.zeros(len(distinct), dtype=p.dtype).index_add(0, places, p)


def test_few_missing_entries_of_a_patch_are_drawn_exactly():
    model = random_model(Discrete((1, 3, 3), 4), patch=2)
    observed = torch.ones(1, 3, 3, dtype=torch.bool)
    observed[0, 0, 0] = observed[0, 1, 1] = observed[0, 2, 2] = False
    x = torch.randint(0, 4, (1, 1, 3, 3), generator=noise(1))
    states = torch.cartesian_prod(*[torch.arange(4)] * 3)
    every = x.repeat(64, 1, 1, 1)
    every[:, ~observed] = states
    drawn_ones = model.complete(x.repeat(20_000, 1, 1, 1), observed, generator=1)
    assert misfit(drawn_ones[:, ~observed], states, model.log_prob(every).softmax(0), 4) < 4


def test_a_first_patch_is_a_prefix():
    """What is observed in the order of patches needs no particles, though in raster order it would."""
    model = random_model(Discrete((1, 4, 4), 2), patch=2)
    observed = torch.zeros(1, 4, 4, dtype=torch.bool)
    observed[0, :2, :2] = True
    assert completing.in_order(model._by_order(observed.unsqueeze(0))).all()
    assert not completing.in_order(observed.flatten(1)).any()


# Settings of the draws


def test_draws_are_what_their_names_say():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    assert Draws()(logits) is logits
    p = logits.softmax(1)
    torch.testing.assert_close(Draws(temperature=0.5)(logits).softmax(1), p.square() / p.square().sum())
    assert (Draws(top_k=2)(logits).softmax(1) > 0).tolist() == [[True, True, False, False]]
    assert (Draws(top_p=0.5)(logits).softmax(1) > 0).tolist() == [[True, False, False, False]]
    assert (Draws(top_p=0.7)(logits).softmax(1) > 0).tolist() == [[True, True, False, False]]
    assert (Draws(top_k=9, top_p=1.0)(logits).softmax(1) > 0).all()


def test_impossible_levels_are_never_drawn_whatever_rounding_does():
    logits = torch.randn(1000, 27, generator=noise())
    logits[:, -1] = -math.inf
    assert (logits.softmax(1).cumsum(1)[:, -2] < 1 - 2**-24).any()
    assert (inverse_cdf(logits, torch.full((1000, 1), 1 - 2**-24)) < 26).all()
    assert inverse_cdf(torch.full((1, 3), -math.inf), torch.tensor([[0.5]])).tolist() == [2]


def test_greedy_samples_are_alike_and_scores_stay():
    model = random_model(STRING)
    before = model.log_prob(every_string(STRING))
    x = model.sample(50, generator=1, top_k=1)
    assert len(torch.unique(x, dim=0)) == 1
    assert len(torch.unique(model.sample(50, generator=1), dim=0)) > 5
    assert torch.equal(model.log_prob(every_string(STRING)), before)


def string_model(name, domain, **options):
    """With conditionals of which no two are alike."""
    if name == "transformer":
        return random_model(domain, **options)
    strings = [torch.tensor([0] * 4), torch.tensor([0, 0, 1]), torch.tensor([0, 2])]
    return learn(NGram(domain, order=2, smoothing="witten-bell", **options), Batch(domain.check(strings)))


@pytest.mark.parametrize("name", ["ngram", "transformer"])
def test_settings_hold_where_joint_states_are_few(name):
    """One symbol is missing in the middle: alone it would be drawn from the list of all strings."""
    model, x = string_model(name, STRING), torch.tensor([[0, 1, 2, 0]]).repeat(200, 1)
    observed = torch.tensor([True, False, True, True])
    assert len(model.complete(x, observed, generator=1).unique(dim=0)) > 1
    assert len(model.complete(x, observed, generator=1, top_k=1).unique(dim=0)) == 1


@pytest.mark.parametrize("name", ["ngram", "transformer"])
def test_what_fills_up_a_sequence_needs_no_particles(name, monkeypatch):
    domain = Sequences(Discrete((), 7), 9)
    model, written = string_model(name, domain), []
    x = domain.check([torch.tensor([0, 1, 2, 3, 4])])
    write = model._written
    monkeypatch.setattr(model, "_written", lambda *args: written.append((len(args[0]), args[4])) or write(*args))
    forecast = [True] * 2 + [False] * 3 + [True] * 4
    backcast = [False] * 3 + [True] * 6
    model.complete(x.repeat(2, 1), torch.tensor([forecast, backcast]), generator=1)
    assert written == [(1, 1), (1, model.particles)]


@pytest.mark.parametrize(
    ("setting", "value"), [("temperature", 0), ("temperature", "hot"), ("top_k", -1), ("top_k", 0.5), ("top_p", 1.5)]
)
def test_bad_settings_are_refused(setting, value):
    with pytest.raises(RangeError, match=f"{setting} must be"):
        random_model(STRING).sample(1, **{setting: value})


# Bad input


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layers": 0}, "layers must be a whole number"),
        ({"patch": 0.5}, "patch must be a whole number"),
        ({"width": 18, "heads": 4}, "twice the heads"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"particles": 0}, "particles must be"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(PmodelError, match=match):
        random_model(STRING, **options)


@pytest.mark.parametrize(
    "domain", [Real((2,)), Discrete((3,), 1), Sequences(Real((1,)), 3), Sequences(Discrete((2,), 3), 3)]
)
def test_other_data_are_refused(domain):
    with pytest.raises(BadInput, match="discrete vectors, pictures and sequences of single symbols"):
        Transformer(domain)


def test_prepared_model_starts_at_the_frequencies():
    model = Transformer(Sequences(Discrete((), 4), 5, ends=True)).eval()
    x = model.domain.check([torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2])])
    model.prepare(x, None, noise())
    symbols = torch.tensor([4, 1, 1, 0, 2])  # the ends count too
    torch.testing.assert_close(model.head.offset[0].exp(), (symbols + 1) / (symbols.sum() + 5))


def test_length_of_a_sequence_is_known_when_it_is_completed():
    """What fills it up is observed, and is no evidence."""
    domain = Sequences(Discrete((), 5), 9)
    model = random_model(domain, particles=64)
    x = domain.check([torch.tensor([0, 0, 0, 0, 3])])
    observed = torch.tensor([False] * 4 + [True] * 5)
    states = torch.cartesian_prod(*[torch.arange(5)] * 4)
    every = torch.cat([states, torch.full((len(states), 1), 3)], 1)
    assert len(states) > completing.STATES
    drawn_ones = model.complete(x.repeat(500, 1), observed, generator=1)
    assert torch.equal(drawn_ones[:, 4:], x[:, 4:].repeat(500, 1))
    p = model.log_prob(list(every)).softmax(0)
    assert misfit(drawn_ones[:, :2], *pooled(states[:, :2], p), 5) < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text-ko", "text-en"])
def test_needs_fewer_bits_than_five_grams(name):
    data = pmodel.load_data(name)
    counted = pmodel.fit("ngram", data, order=5).log_prob(data.test.x)
    gain = pmodel.fit("transformer", data, size="small", steps=600).log_prob(data.test.x) - counted
    assert float(gain.mean()) > 5 * float(gain.std() / len(gain) ** 0.5)


@pytest.mark.slow
@needs_mnist
def test_learns_binary_digits():
    """A thousand small steps: 87 nats when this was written."""
    data = pmodel.load_data("mnist-binary")
    model = pmodel.fit("transformer", data, steps=1000)
    assert -float(model.log_prob(data.test.x[:2000]).mean()) < 90
