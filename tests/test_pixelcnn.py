"""PixelCNN in both forms: what may depend on what, that it is a distribution, that caches change nothing, completion."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

import pmodel
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.autoregressive import completing
from pmodel.explicit.tractable.autoregressive.categories import inverse_cdf, scaled
from pmodel.explicit.tractable.autoregressive.completing import in_order
from pmodel.explicit.tractable.autoregressive.particles import Weights
from pmodel.explicit.tractable.autoregressive.pixels.outputs import LogisticOutput
from pmodel.explicit.tractable.autoregressive.pixels.pixelcnn import PixelCNN
from pmodel.explicit.tractable.autoregressive.pixels.writing import write
from pmodel.testing.measure import Masses, Nodes, chi_square
from raster_models import (
    LABELS,
    OUTPUTS,
    all_conditionals,
    conditionals,
    effects,
    every_picture,
    features_of,
    naive,
    noise,
    random_data,
    random_model,
    seen,
    sharper,
)

FORMS = ("gated", "plain")

# What depends on what


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 3, 4), (1, 1, 6), (1, 6, 1), (1, 1, 1)])
@pytest.mark.parametrize("labelled", [False, True])
def test_features_see_every_earlier_pixel_and_no_other(shape, kernel, labelled):
    effect = effects(random_model(shape, kernel=kernel, layers=5, labelled=labelled))
    pixels = shape[1] * shape[2]
    earlier = torch.ones(pixels, pixels).tril(-1).bool()
    assert (effect[:, earlier] > 1e-9).all()  # every channel of every earlier pixel: there is no blind spot
    assert (effect[:, ~earlier] == 0).all()


@pytest.mark.parametrize(("kernel", "layers"), [(3, 1), (3, 3), (5, 2)])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("shape", [(1, 6, 9), (3, 1, 12), (1, 12, 1), (1, 1, 1)])
def test_plain_features_see_what_their_windows_pass_on(shape, kernel, layers, labelled):
    model = random_model(shape, form="plain", kernel=kernel, layers=layers, labelled=labelled)
    r, effect = kernel // 2, effects(model, 50)
    window = [(-up, across) for up in range(1, r + 1) for across in range(-r, r + 1)] + [
        (0, -back) for back in range(r + 1)
    ]
    expected = seen(shape[1], shape[2], [window] * layers)
    assert (effect[:, expected] > 1e-9).all()
    assert (effect[:, ~expected] == 0).all()


def test_the_plain_form_has_a_blind_spot_and_the_gated_one_has_none():
    """No logit of the last row's first pixel depends on what is up and to the right beyond the windows' slope."""
    height, width, layers = 5, 12, 10
    spot = torch.zeros(height, width, dtype=torch.bool)
    for up in range(1, height):
        spot[height - 1 - up, up + 3 :] = True  # beyond one pixel for each row, and two more that the opening sees
    assert int(spot.sum()) == 26
    for form in FORMS:
        model = random_model((1, height, width), form=form, layers=layers)
        x = scaled(random_data(model, 50)[0], model.levels, torch.float64).requires_grad_()
        logits = model.output._logits(model.output._hidden(model.network(x, None)[:, -1, 0]), 0)
        gradient = torch.autograd.grad(logits.sum(), x)[0].abs().sum((0, 1))
        seen_before = torch.ones(height, width, dtype=torch.bool)
        seen_before[-1] = False
        if form == "plain":
            assert (gradient[spot] == 0).all()
            assert (gradient[seen_before & ~spot] > 0).all()
        else:
            assert (gradient[seen_before] > 0).all()


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_plain_block_is_the_masked_convolution_of_the_paper(kernel):
    model = random_model((1, 5, 6), form="plain", kernel=kernel, layers=1)
    block, r = model.network.layers[0], kernel // 2
    weight = torch.randn(6, 6, kernel, kernel, generator=noise(5), dtype=torch.float64)
    with torch.no_grad():
        block.above.weight.copy_(weight[:, :, :r])
        block.left.weight.copy_(weight[:, :, r : r + 1, : r + 1])
        weight[:, :, r, r + 1 :] = weight[:, :, r + 1 :] = 0  # mask B
        s = torch.randn(2, 12, 5, 6, generator=noise(6), dtype=torch.float64)
        u = F.conv2d(s.relu(), block.shrink.weight, block.shrink.bias).relu()
        a = F.conv2d(u, weight, block.above.bias, padding=r).relu()
        expected = s + F.conv2d(a, block.grow.weight, block.grow.bias)
        torch.testing.assert_close(block(s, None), expected)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel"), [((1, 4, 5), 3), ((3, 3, 3), 3), ((3, 3, 2), 5), ((3, 1, 1), 3), ((1, 1, 1), 5)]
)
def test_conditionals_depend_on_every_earlier_entry_and_no_other(shape, kernel, output, labelled):
    model = random_model(shape, kernel=kernel, output=output, labelled=labelled)
    x, given = random_data(model, 1)
    channels, height, width = shape
    entries = list(
        itertools.product(range(height), range(width), range(channels))
    )  # red, green, blue; then the next pixel
    changed = x.repeat(1 + len(entries), 1, 1, 1)
    for number, (i, j, c) in enumerate(entries):
        changed[1 + number, c, i, j] = (x[0, c, i, j] + 1) % model.levels
    table = all_conditionals(model, changed, None if given is None else given.expand(len(changed)))
    effect = (table[1:] - table[0]).abs().amax(2).T  # of an entry that is changed (column) on a conditional (row)
    earlier = torch.ones(len(entries), len(entries)).tril(-1).bool()
    assert (effect[earlier] > 1e-9).all()
    assert (effect[~earlier] < 1e-13).all()


@pytest.mark.parametrize("form", FORMS)
def test_label_shifts_every_conditional(form):
    model = random_model((3, 2, 2), labelled=True, form=form)
    x, _ = random_data(model, 1)
    tables = all_conditionals(model, x.repeat(LABELS, 1, 1, 1), torch.arange(LABELS))
    assert ((tables[1:] - tables[:1]).abs().amax(2) > 1e-6).all()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labelled", [False, True])
def test_gradient_reaches_every_parameter(output, form, labelled):
    given = Discrete((), LABELS) if labelled else None
    model = PixelCNN(Discrete((3, 4, 4), 5), given, form=form, output=output, layers=3)
    x, given = random_data(model, 8)
    model._loss(pmodel.learning.Batch(x, given), noise()).total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


# That it is a distribution


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 2), 4), ((3, 1, 1), 6), ((3, 2, 1), 2)])
def test_probabilities_sum_to_one(shape, levels, output, form, label):
    model = random_model(shape, levels, output=output, form=form, labelled=label is not None)
    total = model.log_prob(every_picture(shape, levels), given=label).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("output", OUTPUTS)
def test_samples_have_the_enumerated_frequencies(output):
    model = random_model((1, 2, 2), 4, output=output)
    x = every_picture((1, 2, 2), 4)
    p = model.log_prob(x).exp()
    masses = Masses(Nodes(x, torch.ones(len(x), dtype=torch.float64)), p, torch.zeros_like(p))
    assert chi_square(model.sample(20_000, generator=3), masses, model.domain, clamped=False) < 5


def test_log_prob_is_the_sum_of_the_conditionals():
    model = random_model((3, 3, 4), 5, labelled=True)
    x, given = random_data(model, 4)
    table = all_conditionals(model, x, given)
    chosen = table.gather(2, x.permute(0, 2, 3, 1).reshape(4, -1, 1)).sum((1, 2))
    torch.testing.assert_close(model.log_prob(x, given=given), chosen, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_logistic_conditionals_of_256_levels_sum_to_one(spread):
    model = random_model((3, 2, 2), 256, output="logistic", mixtures=5)
    features = spread * torch.randn(6, 6, generator=noise(2), dtype=torch.float64)
    table = conditionals(model, features, torch.randint(0, 256, (6, 3), generator=noise(3)))
    assert table.isfinite().all()
    torch.testing.assert_close(table.exp().sum(2), torch.ones(6, 3, dtype=torch.float64), rtol=0, atol=1e-10)


def test_logistic_output_is_the_mixture_of_the_paper():
    levels, output = 16, LogisticOutput(6, 3, 16, 8, 4).double()
    features = torch.randn(5, 6, generator=noise(2), dtype=torch.float64)
    x = torch.randint(0, levels, (5, 3), generator=noise(3))
    x[0], x[1] = 0, levels - 1
    log_pi, m, log_scale, coefficients = output._mixture(features)
    red, green, _ = (2 * x / (levels - 1) - 1).double().unsqueeze(2).unbind(1)
    alpha, beta, gamma = coefficients.unbind(1)
    mu = [m[:, 0], m[:, 1] + alpha * red, m[:, 2] + beta * red + gamma * green]
    mass = torch.ones_like(log_pi)
    for c in range(3):
        centre, s = (2 * x[:, c : c + 1] / (levels - 1) - 1).double(), log_scale[:, c].exp()
        upper = torch.sigmoid((centre + 1 / (levels - 1) - mu[c]) / s)
        lower = torch.sigmoid((centre - 1 / (levels - 1) - mu[c]) / s)
        upper[x[:, c] == levels - 1], lower[x[:, c] == 0] = 1, 0
        mass = mass * (upper - lower)
    expected = (log_pi.exp() * mass).sum(1).log()
    torch.testing.assert_close(output.log_prob(features, x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("levels", [3, 17, 256, 1000])
def test_finest_logistic_variable_is_an_eighth_of_a_bin_wide(levels):
    output = LogisticOutput(4, 1, levels, 4, 1).double()
    with torch.no_grad():
        output.heads.weight.zero_()
        output.heads.bias.copy_(torch.tensor([0.0, 2 / (levels - 1) - 1, -100.0]))  # at level 1
        found = output.log_prob(torch.zeros(1, 4, dtype=torch.float64), torch.ones(1, 1, dtype=torch.int64)).exp()
    assert float(found) == pytest.approx(math.tanh(2))  # from four scales below to four above


def test_logistic_output_keeps_its_precision_under_autocast():
    """Pixels that are almost white, and almost certain."""
    output, levels = LogisticOutput(16, 1, 256, 32, 2), torch.arange(236, 256).unsqueeze(1)
    with torch.no_grad():
        output.hidden.weight.copy_(torch.randn(32, 16, generator=noise(1)))
        output.hidden.bias.zero_()
        output.heads.weight.copy_(0.002 * torch.randn(6, 32, generator=noise(2)))
        output.heads.bias.copy_(torch.tensor([0.0, 0.0, 0.937, 1.003, -100.0, -100.0]))
        features = torch.randn(20, 16, generator=noise(3))
        exact = output.log_prob(features, levels)
        with torch.autocast("cpu", torch.bfloat16):
            found = output.log_prob(features, levels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0, atol=0.3)


@pytest.mark.parametrize("output", OUTPUTS)
def test_prepared_output_is_near_the_frequencies_of_the_levels(output):
    model = PixelCNN(Discrete((1, 2, 2), 20), output=output, mixtures=20)
    x = (20 * torch.rand(4000, 1, 2, 2, generator=noise()).square()).long()
    model.prepare(x, None, noise())
    frequencies = torch.bincount(x.flatten(), minlength=20) / x.numel()
    with torch.no_grad():
        model.output.heads.weight.zero_() if output == "logistic" else model.output.logits[0].weight.zero_()
        found = conditionals(model, torch.zeros(1, 32), torch.zeros(1, 1, dtype=torch.int64))[0, 0].exp()
    torch.testing.assert_close(found, frequencies, rtol=0, atol=1e-3 if output == "categorical" else 0.05)


# The cache


SHAPES = [(1, 6, 5), (3, 4, 5), (1, 1, 7), (1, 7, 1), (3, 1, 1)]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cached_samples_are_the_naive_ones(shape, form, labelled, output):
    model = random_model(shape, 7, output=output, labelled=labelled, form=form, kernel=5, layers=3)
    _, given = random_data(model, 9)
    found = model.sample(9, given=given, generator=noise(5))
    assert torch.equal(found, naive(model, 9, given, noise(5)))
    assert len(found.unique()) > 3


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cached_features_are_the_parallel_ones_in_float32(shape, form, labelled):
    model = random_model(shape, 7, labelled=labelled, dtype=torch.float32, form=form, kernel=5, layers=3)
    x, given = random_data(model, 9)
    with torch.no_grad():
        expected, cache = features_of(model, x, given), model.network.cache(9, given)
        found = torch.empty_like(expected)
        for i in range(shape[1]):
            cache.start_row(i)
            for j in range(shape[2]):
                found[:, i, j] = cache.features(j)
                cache.put(j, scaled(x[:, :, i, j], model.levels, torch.float32))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_a_cache_can_be_selected_in_the_middle_of_a_row(form):
    model = random_model((1, 4, 4), kernel=5, form=form)
    x, _ = random_data(model, 5)
    rows = torch.tensor([3, 3, 0, 4, 1])
    cache = model.network.cache(5, None)
    with torch.no_grad():
        for number, (i, j) in enumerate(itertools.product(range(4), range(4))):
            if j == 0:
                cache.start_row(i)
            if number == 6:
                cache.select(rows)
                x = x[rows]
            torch.testing.assert_close(cache.features(j), features_of(model, x, None)[:, i, j])
            cache.put(j, scaled(x[:, :, i, j], model.levels, torch.float64))


def test_inverse_cdf_takes_the_first_category_beyond_u():
    logits = torch.tensor([[0.2, 0.3, 0.5]]).log().expand(5, 3)
    u = torch.tensor([[0.0], [0.199], [0.201], [0.499], [0.9999999]])
    assert inverse_cdf(logits, u).tolist() == [0, 0, 1, 1, 2]


# Completion


def test_which_masks_are_in_order():
    masks = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
    assert in_order(masks.bool()).tolist() == [True, False, True, True, False]
    masks = torch.tensor([[0, 1, 0], [1, 1, 0]]).bool().reshape(2, 3, 1, 1)  # red and green
    assert random_model((3, 1, 1))._in_order(masks).tolist() == [False, True]
    masks = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]]).bool().reshape(2, 1, 2, 2)  # raster order
    assert random_model((1, 2, 2))._in_order(masks).tolist() == [True, False]


def posterior(model, x, observed):
    """All completions of one picture and their exact probabilities."""
    holes = (~observed).flatten().nonzero()[:, 0]
    states = torch.cartesian_prod(*[torch.arange(model.levels)] * len(holes)).reshape(-1, len(holes))
    every = x.flatten().repeat(len(states), 1)
    every[:, holes] = states
    every = every.reshape(-1, *model.domain.shape)
    return every, model.log_prob(every).softmax(0)


def means(x):
    return x.double().mean(0)


def misfit(model, drawn, every, p, observed):
    """By how many standard deviations completions differ from the posterior of all missing entries together."""
    states = every[:, ~observed]
    masses = Masses(Nodes(states, torch.ones_like(p)), p, torch.zeros_like(p))
    return chi_square(drawn[:, ~observed], masses, Discrete(states.shape[1:], model.levels), clamped=False)


def drawn_apart(drawn):
    """The same marginals, of entries that know nothing of each other."""
    flat = drawn.flatten(1)
    order = torch.rand(flat.shape, generator=noise()).argsort(0)
    return flat.gather(0, order).reshape(drawn.shape)


@pytest.mark.parametrize("output", OUTPUTS)
def test_few_missing_entries_are_drawn_exactly(output):
    model = sharper(random_model((3, 2, 2), 4, output=output))
    x, _ = random_data(model, 1)
    observed = torch.ones(3, 2, 2, dtype=torch.bool)
    observed[0, 0, 0] = observed[2, 0, 1] = observed[1, 1, 0] = False
    every, p = posterior(model, x, observed)
    drawn = model.complete(x.repeat(20_000, 1, 1, 1), observed, generator=1)
    assert misfit(model, drawn, every, p, observed) < 4
    assert misfit(model, drawn_apart(drawn), every, p, observed) > 8
    assert torch.equal(drawn[:, observed], x.repeat(20_000, 1, 1, 1)[:, observed])


def test_what_is_missing_after_all_observed_is_drawn_from_the_conditionals():
    model = sharper(random_model((1, 3, 4), 2))
    observed = torch.zeros(1, 3, 4, dtype=torch.bool)
    observed[0, 0, :2] = True
    x, _ = random_data(model, 1)
    every, p = posterior(model, x, observed)
    assert len(every) > completing.STATES  # too many to be listed
    drawn = model.complete(x.repeat(20_000, 1, 1, 1), observed, generator=1)
    assert misfit(model, drawn, every, p, observed) < 4
    assert misfit(model, drawn_apart(drawn), every, p, observed) > 8


@pytest.mark.parametrize("budget", [1, 3 * 16 * 12])
@pytest.mark.parametrize("labelled", [False, True])
def test_many_pictures_are_completed_alike_within_a_budget_of_memory(labelled, budget, monkeypatch):
    model = random_model((3, 2, 2), 4, labelled=labelled)
    x, given = random_data(model, 60)
    holes = torch.rand(30, 12, generator=noise(4)).argsort(1).repeat(2, 1)  # thirty masks, twice each
    observed = torch.ones(60, 12, dtype=torch.bool).scatter(1, holes[:, :2], False).reshape(x.shape)
    whole = model.complete(x, observed, given=given, generator=3)
    sizes, scored = [], model._scored
    monkeypatch.setattr(model, "_scored", lambda every, told: sizes.append(every.numel()) or scored(every, told))
    monkeypatch.setattr(completing, "LISTED", budget)
    assert torch.equal(model.complete(x, observed, given=given, generator=3), whole)
    assert len(sizes) > 10
    assert max(sizes) == max(budget, 16 * 12)  # one picture at least, with its sixteen states


@pytest.mark.parametrize("particles", [3, 16, 100])
def test_particles_are_drawn_from_their_own_picture_whatever_rounding_does(particles, monkeypatch):
    weights = Weights(2, particles, noise(), torch.zeros(()))
    monkeypatch.setattr(weights, "_uniform", lambda: torch.full((2, 1), 1 - 2**-24))
    log_p = torch.full((2, particles), -50.0)
    log_p[:, -1] = 0
    weights.multiply(log_p)
    assert weights.resampled().tolist() == [particles - 1] * particles + [2 * particles - 1] * particles


@pytest.mark.parametrize(("particles", "low", "high"), [(1, 0.08, 1.0), (64, 0.0, 0.05)])
def test_particles_approach_the_posterior(particles, low, high):
    """Rows are observed below and between missing ones; a single particle, which has no weights, is wrong."""
    model = sharper(random_model((1, 4, 4), 2, particles=particles))
    observed = torch.zeros(1, 4, 4, dtype=torch.bool)
    observed[0, 1, ::2] = observed[0, 3] = True
    x, _ = random_data(model, 1, 12)
    every, p = posterior(model, x, observed)
    assert len(every) > completing.STATES
    drawn = model.complete(x.repeat(1000, 1, 1, 1), observed, generator=1)
    gap = float((means(drawn) - torch.einsum("n,nchw->chw", p, every.double())).abs().max())
    assert low < gap < high


@pytest.mark.parametrize("labelled", [False, True])
def test_completion_takes_every_kind_of_mask_in_one_batch(labelled):
    model = random_model((3, 4, 4), 5, labelled=labelled, particles=4)
    x, given = random_data(model, 6)
    observed = torch.rand(x.shape, generator=noise(4)) < 0.5
    observed[0], observed[1], observed[2, :, 2:], observed[3] = True, False, True, True
    observed[3, 1, 0, 0] = False
    filled = model.complete(x, observed, given=given, generator=2)
    assert torch.equal(filled[observed], x[observed])
    assert torch.equal(model.domain.check(filled), filled)
    other = model.complete(torch.where(observed, x, 4 - x), observed, given=given, generator=2)
    assert torch.equal(filled, other)


def test_a_label_shapes_completions():
    model = random_model((1, 2, 2), 3, labelled=True)
    x, _ = random_data(model, 1)
    observed = torch.tensor([[[False, True], [True, True]]])
    every = x.repeat(3, 1, 1, 1)
    every[:, 0, 0, 0] = torch.arange(3)
    for label in range(LABELS):
        p = model.log_prob(every, given=label).softmax(0)
        drawn = model.complete(x.repeat(5000, 1, 1, 1), observed, given=label, generator=1)[:, 0, 0, 0]
        torch.testing.assert_close(torch.bincount(drawn, minlength=3) / 5000, p.float(), rtol=0, atol=0.04)


def test_writing_with_everything_observed_returns_it():
    model = random_model((3, 3, 3), 4)
    x, _ = random_data(model, 2)
    assert torch.equal(write(model.network, model.output, x, None, torch.ones_like(x).bool(), noise(), 3), x)


# What it refuses


@pytest.mark.parametrize("domain", [Discrete((4,), 2), Discrete((2, 4, 4), 2), Discrete((1, 4, 4), 1), Real((1, 4, 4))])
def test_other_data_than_pictures_are_refused(domain):
    with pytest.raises(BadInput, match="PixelCNN cannot take these data: it takes pictures of shape"):
        PixelCNN(domain)


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"channels": 0}, RangeError, "channels must be a whole number from 1"),
        ({"layers": 1.5}, RangeError, "layers must be a whole number from 1"),
        ({"width": True}, RangeError, "width must be a whole number"),
        ({"particles": 0}, RangeError, "particles must be a whole number"),
        ({"mixtures": -1}, RangeError, "mixtures must be a whole number"),
        ({"kernel": 4}, RangeError, "kernel must be odd and at least 3.*got:? *4"),
        ({"kernel": 1}, RangeError, "kernel must be odd and at least 3"),
        ({"dropout": 1.0}, RangeError, "dropout must be at least 0 and below 1"),
        ({"dropout": math.nan}, RangeError, "dropout must be at least 0 and below 1"),
        ({"form": "masked"}, BadInput, "form is gated or plain"),
        ({"output": "normal"}, BadInput, "output is auto, categorical or logistic"),
    ],
)
def test_bad_options_are_refused(options, kind, sentence):
    with pytest.raises(kind, match=f"(?s){sentence}"):
        PixelCNN(Discrete((1, 4, 4), 2), **options)


# How it learns


@pytest.mark.slow
def test_learns_digits():
    """Better than a mixture by expectation maximisation, and a judge that knows the real digits reads its samples."""
    data = pmodel.load_data("digits")
    mixture = pmodel.fit("mixture", data)
    model = pmodel.fit("pixelcnn", data, steps=1200, conditional=True)
    given = torch.as_tensor(data.test.y)
    gain = model.log_prob(data.test.x, given=given) - mixture.log_prob(data.test.x)
    assert float(gain.mean()) > 10 * float(gain.std() / len(gain) ** 0.5)
    labels = torch.arange(10).repeat(30)
    samples = model.sample(300, given=labels, generator=0).flatten(1).double()
    nearest = torch.cdist(samples, data.train.x.flatten(1).double()).argmin(1)
    assert float((torch.as_tensor(data.train.y)[nearest] == labels).double().mean()) > 0.8


@pytest.mark.parametrize(
    ("levels", "kind"), [(2, "CategoricalOutput"), (256, "CategoricalOutput"), (257, "LogisticOutput")]
)
def test_auto_tells_apart_up_to_256_levels(levels, kind):
    assert type(PixelCNN.tiny(Discrete((1, 2, 2), levels)).output).__name__ == kind
