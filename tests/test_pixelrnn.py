"""PixelRNN: nothing leaks, all that should be seen is seen, the equations of the paper, and that its cache changes nothing."""

import itertools
import math

import pytest
import torch

import pmodel
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.tractable.autoregressive.categories import scaled
from pmodel.explicit.tractable.autoregressive.pixels.pixelrnn import PixelRNN
from pmodel.explicit.tractable.autoregressive.pixels.recurrence import diagonal_order, diagonals, recur, rows
from raster_models import (
    LABELS,
    OUTPUTS,
    all_conditionals,
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

CELLS = ("row", "diagonal")
SHAPES = [(1, 6, 5), (3, 4, 5), (1, 1, 7), (1, 7, 1), (3, 1, 1)]


def rnn(shape, levels=3, *, layers=2, channels=4, **options):
    return random_model(shape, levels, kind=PixelRNN, layers=layers, channels=channels, **options)


def looks(cell, shape, layers, kernel):
    """Which pixels features should see: those that one layer's memory reaches, layer after layer."""
    height, width = shape[1:]
    if cell == "diagonal":
        return torch.ones(height * width, height * width).tril(-1).bool()
    r = kernel // 2
    back = [[(0, -at) for at in range(r + 1)]]
    up = [[(0, 0), *[(-1, across) for across in range(-r, r + 1)]]] * (height - 1)
    return seen(height, width, (back + up) * layers)


# What depends on what


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(1, 6, 9), (3, 4, 5), (1, 1, 9), (1, 9, 1), (1, 9, 6), (1, 1, 1)])
@pytest.mark.parametrize(("layers", "kernel", "labelled"), [(1, 3, False), (2, 3, True), (1, 5, True)])
def test_features_see_what_their_cell_reaches_and_no_other(cell, shape, layers, kernel, labelled):
    """The Diagonal BiLSTM every earlier pixel, the Row LSTM a triangle: by gradients."""
    effect = effects(rnn(shape, cell=cell, layers=layers, kernel=kernel, labelled=labelled), 3)
    expected = looks(cell, shape, layers, kernel)
    assert (effect[:, expected] > 1e-12).all()
    assert (effect[:, ~expected] == 0).all()


def test_the_row_lstm_sees_a_triangle():
    """From the last row's first pixel, three pixels to the right one row up, and one more with each row."""
    height, width = 6, 12
    effect = effects(rnn((1, height, width), cell="row"))[0].reshape(height, width, height, width)[-1, 0] > 0
    assert effect.sum(1).tolist() == [8, 7, 6, 5, 4, 0]
    across = effects(rnn((1, height, width), cell="diagonal"))[0].reshape(height, width, height, width)[-1, 0] > 0
    assert across.sum(1).tolist() == [width] * (height - 1) + [0]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 3, 4), (3, 1, 1)])
def test_a_changed_entry_changes_later_conditionals_and_no_other(cell, shape, output):
    model = rnn(shape, cell=cell, output=output)
    channels, height, width = shape
    entries = list(itertools.product(range(height), range(width), range(channels)))
    effect = torch.zeros(len(entries), len(entries), dtype=torch.float64)
    for x in random_data(model, 4)[0]:
        changed = x.repeat(1 + len(entries), 1, 1, 1)
        for number, (i, j, c) in enumerate(entries):
            changed[1 + number, c, i, j] = (x[c, i, j] + 1) % model.levels
        table = all_conditionals(model, changed, None)
        effect += (table[1:] - table[0]).abs().amax(2).T  # of an entry that is changed (column) on a conditional (row)
    pixels = looks(cell, shape, 2, 3).repeat_interleave(channels, 0).repeat_interleave(channels, 1)
    own = torch.block_diag(*[torch.ones(channels, channels).tril(-1)] * (height * width)).bool()
    assert (effect[pixels | own] > 1e-9).all()
    assert (effect[~(pixels | own)] < 1e-13).all()


@pytest.mark.parametrize("cell", CELLS)
def test_label_shifts_every_conditional(cell):
    model = rnn((3, 2, 2), cell=cell, labelled=True)
    x, _ = random_data(model, 1)
    tables = all_conditionals(model, x.repeat(LABELS, 1, 1, 1), torch.arange(LABELS))
    assert ((tables[1:] - tables[:1]).abs().amax(2) > 1e-6).all()


# The equations of the paper, pixel by pixel


def gates(weights, c):
    o, f, i, g = weights.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def run(memory, s, before, carried, order):
    """The states h of all pixels, from the states that ``before`` lists for each tap, and c from ``carried``."""
    size, h, c = memory.size, {}, {}
    for i, j in order:
        a = memory.input.bias.clone()
        for tap in range(memory.window):
            a += memory.input.weight[:, :, 0, tap] @ s.get(
                (i, j - memory.window + 1 + tap), torch.zeros(2 * size).double()
            )
        for tap, (up, across) in enumerate(before):
            a += memory.state.weight[:, :, 0, tap] @ h.get((i + up, j + across), torch.zeros(size).double())
        h[i, j], c[i, j] = gates(a, c.get((i + carried[0], j + carried[1]), torch.zeros(size).double()))
    return h


@torch.no_grad()
def reference(model, x, given):
    """Features ``(N, H, W, 2h)`` from loops over pixels."""
    height, width = x.shape[2:]
    pictures = scaled(x, model.levels, torch.float64)
    above, left = model.network.opened(pictures)
    raster = list(itertools.product(range(height), range(width)))
    found = torch.empty(len(x), height, width, above.shape[1], dtype=torch.float64)
    for n, (opened, picture) in enumerate(zip(above + left, pictures, strict=True)):
        if given is not None:
            opened = opened + model.network.told.weight[:, given[n], None, None]
        s = {(i, j): opened[:, i, j] for i, j in raster}
        for layer in model.network.layers:
            if hasattr(layer, "memory"):
                r = layer.reach
                h = run(layer.memory, s, [(-1, across) for across in range(-r, r + 1)], (-1, 0), raster)
            else:
                h = run(layer.right, s, [(0, -1), (-1, 0)], (0, -1), raster)
                backwards = [(i, j) for i, j in itertools.product(range(height), reversed(range(width)))]
                if layer.left is not None:
                    known = {(i, j): s[i, j] + layer.own.weight @ picture[:, i, j] for i, j in raster}
                    second = run(layer.left, known, [(0, 1), (-1, 0)], (0, 1), backwards)
                    h = {(i, j): h[i, j] + (second[i - 1, j] if i else 0) for i, j in raster}
            s = {at: s[at] + layer.grow.weight @ h[at] + layer.grow.bias for at in raster}
        for i, j in raster:
            found[n, i, j] = s[i, j]
    return found


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize(("shape", "kernel"), [((1, 5, 4), 3), ((1, 4, 7), 5), ((3, 1, 5), 3), ((1, 5, 1), 3)])
def test_features_are_those_of_a_loop_over_pixels(cell, shape, kernel, labelled):
    model = rnn(shape, cell=cell, kernel=kernel, labelled=labelled)
    x, given = random_data(model, 2)
    with torch.no_grad():
        torch.testing.assert_close(features_of(model, x, given), reference(model, x, given), rtol=0, atol=1e-12)


@pytest.mark.parametrize("over", [rows(3, 4, 1), rows(1, 3, 2), diagonals(3, 4), diagonals(4, 2), diagonals(1, 1)])
def test_the_gradient_of_the_recurrence_is_right(over):
    size, taps = 2, len(over[0].taps)
    a = torch.randn(over[-1].stop, 2, 4 * size, generator=noise(), dtype=torch.float64, requires_grad=True)
    weight = torch.randn(taps * size, 4 * size, generator=noise(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, weight: recur(a, weight, over), (a, weight))


def test_diagonals_take_every_pixel_once():
    assert diagonal_order(2, 3) == [0, 1, 3, 2, 4, 5]
    assert sorted(diagonal_order(5, 7)) == list(range(35))
    assert [(line.start, line.stop) for line in diagonals(2, 3)] == [(0, 1), (1, 3), (3, 5), (5, 6)]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("labelled", [False, True])
def test_gradient_reaches_every_parameter(cell, labelled):
    model = PixelRNN(Discrete((3, 4, 4), 5), Discrete((), LABELS) if labelled else None, cell=cell)
    x, given = random_data(model, 8)
    model._loss(pmodel.learning.Batch(x, given), noise()).total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_agrees_with_float32(cell):
    model = PixelRNN(Discrete((1, 8, 8), 2), cell=cell, channels=16)
    x, _ = random_data(model, 16)
    exact = model._log_prob(x, None)
    with torch.autocast("cpu", torch.bfloat16):
        found = model._log_prob(x, None)
    torch.testing.assert_close(found, exact, rtol=0.01, atol=0)
    found.mean().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


# That it is a distribution


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 2), 4), ((1, 3, 4), 2), ((3, 2, 1), 2)])
def test_probabilities_sum_to_one(shape, levels, output, cell, label):
    model = rnn(shape, levels, output=output, cell=cell, labelled=label is not None)
    total = model.log_prob(every_picture(shape, levels), given=label).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-10)


# The cache


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cached_samples_are_the_naive_ones(shape, labelled, cell, output):
    model = rnn(shape, 7, output=output, cell=cell, labelled=labelled, kernel=5)
    _, given = random_data(model, 9)
    found = model.sample(9, given=given, generator=noise(5))
    assert torch.equal(found, naive(model, 9, given, noise(5)))
    assert len(found.unique()) > 3


@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_a_cache_can_be_selected_in_the_middle_of_a_row(cell):
    model = rnn((1, 4, 4), kernel=5, cell=cell, labelled=True)
    x, _ = random_data(model, 5)
    kept, label, cache = torch.tensor([3, 3, 0, 4, 1]), torch.ones(5, dtype=torch.int64), None
    with torch.no_grad():
        cache = model.network.cache(5, label)
        for number, (i, j) in enumerate(itertools.product(range(4), range(4))):
            if j == 0:
                cache.start_row(i)
            if number == 6:
                cache.select(kept)
                x = x[kept]
            torch.testing.assert_close(cache.features(j), features_of(model, x, label)[:, i, j])
            cache.put(j, scaled(x[:, :, i, j], model.levels, torch.float64))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("particles", "low", "high"), [(1, 0.05, 1.0), (64, 0.0, 0.05)])
def test_particles_approach_the_posterior(cell, particles, low, high):
    model = sharper(rnn((1, 4, 4), 2, cell=cell, particles=particles))
    observed = torch.zeros(1, 4, 4, dtype=torch.bool)
    observed[0, 1, ::2] = observed[0, 3] = True
    x, _ = random_data(model, 1, 1)
    holes = (~observed).flatten().nonzero()[:, 0]
    every = x.flatten().repeat(2 ** len(holes), 1)
    every[:, holes] = torch.cartesian_prod(*[torch.arange(2)] * len(holes))
    every = every.reshape(-1, 1, 4, 4)
    p = model.log_prob(every).softmax(0)
    drawn = model.complete(x.repeat(1000, 1, 1, 1), observed, generator=1)
    gap = float((drawn.double().mean(0) - torch.einsum("n,nchw->chw", p, every.double())).abs().max())
    assert low < gap < high


# What it refuses, and how it learns


@pytest.mark.parametrize("domain", [Discrete((4,), 2), Discrete((2, 4, 4), 2), Real((1, 4, 4))])
def test_other_data_than_pictures_are_refused(domain):
    with pytest.raises(BadInput, match="PixelRNN cannot take these data: it takes pictures of shape"):
        PixelRNN(domain)


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"cell": "gru"}, BadInput, "cell is row or diagonal.*got:? *'?gru"),
        ({"channels": 0}, RangeError, "channels must be a whole number from 1"),
        ({"layers": 1.5}, RangeError, "layers must be a whole number from 1"),
        ({"kernel": 4}, RangeError, "kernel must be odd and at least 3.*got:? *4"),
        ({"particles": 0}, RangeError, "particles must be a whole number"),
        ({"output": "normal"}, BadInput, "output is auto, categorical or logistic"),
    ],
)
def test_bad_options_are_refused(options, kind, sentence):
    with pytest.raises(kind, match=f"(?s){sentence}"):
        PixelRNN(Discrete((1, 4, 4), 2), **options)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_learns_digits(cell):
    """Better than a mixture by expectation maximisation, by far."""
    data = pmodel.load_data("digits")
    mixture = pmodel.fit("mixture", data)
    model = pmodel.fit("pixelrnn", data, steps=800, cell=cell)
    gain = model.log_prob(data.test.x) - mixture.log_prob(data.test.x)
    assert float(gain.mean()) > 10 * float(gain.std() / math.sqrt(len(gain)))
