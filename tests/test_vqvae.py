"""The vector-quantised VAE: its codebook against brute force, its gradient, its bound against the sum over all codes."""

import math

import pytest
import torch

import pmodel
from pmodel import Discrete, Real, make
from pmodel.distribution import Point
from pmodel.errors import BadInput, RangeError
from pmodel.explicit.approximate.vae.codebook import Codebook
from pmodel.explicit.approximate.vae.grids import Reader, Writer, sides_of
from pmodel.explicit.approximate.vae.vqvae import SETTLED, VQVAE
from pmodel.learning import Batch, Recipe
from pmodel.randomness import forked, generator
from pmodel.testing.fitting import learn
from pmodel.train.batches import Batches
from pmodel.train.precision import Arithmetic
from pmodel.train.stepper import Stepper
from pmodel.wrappers import WithPrior

PICTURE = Discrete((1, 8, 8), 2)
BITS = Discrete((3,), 2)


def codebook(codes=5, features=3, decay=0.9, restart=0.1):
    with forked(0, "init"):
        return Codebook(codes, features, decay, restart)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def tiny(domain=PICTURE, **options):
    with forked(0, "init"):
        return VQVAE(domain, **{**VQVAE.sizes["tiny"], **options})


# the codebook


def test_the_nearest_code_is_the_nearest():
    book, z = codebook(), drawn(2, 4, 3)
    found = torch.cdist(z, book.vectors.expand(2, 5, 3)).argmin(-1)
    assert torch.equal(book.nearest(z), found)
    close = codebook(codes=64, features=16)
    close.sums.copy_(1 + 1e-3 * drawn(64, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(close.nearest(close.vectors), torch.arange(64))


def test_codes_follow_the_means_of_what_they_stand_for():
    book, z = codebook(restart=0.0), drawn(40, 3)
    codes = torch.arange(40) % 4
    counts, sums = book.counts.clone(), book.sums.clone()
    book.follow(z, codes, generator(0), restart=True)
    n = torch.bincount(codes, minlength=5).float() * 5 / 40
    torch.testing.assert_close(book.counts, 0.9 * counts + 0.1 * n)
    torch.testing.assert_close(book.sums[0], 0.9 * sums[0] + 0.1 * z[::4].sum(0) * 5 / 40)
    for _ in range(300):
        book.follow(z, codes, generator(0), restart=True)
    means = torch.stack([z[codes == k].mean(0) for k in range(4)])
    torch.testing.assert_close(book.vectors[:4], means)
    assert float(book.counts.sum()) == pytest.approx(5)


def test_a_code_that_is_never_the_nearest_stays_where_it_is():
    book = codebook(restart=0.0)
    before = book.vectors[4].clone()
    for step in range(30):
        book.follow(drawn(20, 3, seed=step), torch.arange(20) % 4, generator(0), restart=True)
    torch.testing.assert_close(book.vectors[4], before)


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_and_that_for_as_long_as_training_lasts(decay):
    book, z, codes = codebook(decay=decay, restart=0.0), drawn(20, 3), torch.arange(20) % 4
    before = book.vectors[4].clone()
    for _ in range(6000):
        book.follow(z, codes, generator(0), restart=True)
    assert book.counts.dtype == torch.float32
    torch.testing.assert_close(book.vectors[4], before, rtol=1e-3, atol=0.0)
    book.follow(z, torch.full((20,), 4), generator(0), restart=True)  # and it is free to go once it is the nearest
    torch.testing.assert_close(book.vectors[4], z.mean(0), rtol=1e-3, atol=1e-3)


def test_averages_over_shards_are_those_of_the_whole_batch():
    z, codes = drawn(40, 3), torch.arange(40) % 5
    books = [codebook(restart=0.0) for _ in range(3)]
    for book, rows in zip(books, (slice(0, 40), slice(0, 20), slice(20, 40)), strict=True):
        book.follow(z[rows], codes[rows], generator(0), restart=True)
    whole, first, second = books
    torch.testing.assert_close((first.counts + second.counts) / 2, whole.counts)
    torch.testing.assert_close((first.sums + second.sums) / 2, whole.sums)


def test_dead_codes_start_anew_at_vectors_of_the_batch():
    z, codes = drawn(40, 3), torch.zeros(40, dtype=torch.int64)
    books = [codebook() for _ in range(4)]
    for book, seed, restart in zip(books, (0, 0, 1, 0), (True, True, True, False), strict=True):
        book.counts[2:] = 0.05
        book.follow(z, codes, generator(seed), restart=restart)
    first, again, other, never = books
    torch.testing.assert_close(first.counts[2:], torch.ones(3))
    assert bool((torch.cdist(first.vectors[2:], z).min(1).values < 1e-3).all())
    assert torch.equal(first.sums, again.sums)
    assert not torch.equal(first.sums[2:], other.sums[2:])
    torch.testing.assert_close(never.counts[2:], torch.full((3,), 0.045))
    assert float(first.used) == 1
    assert float(never.used) == pytest.approx(0.4)


# networks


@pytest.mark.parametrize(
    ("shape", "grid", "sides"),
    [
        ((1, 28, 28), 7, (7, 7)),
        ((1, 28, 28), 14, (14, 14)),
        ((1, 28, 28), 4, (4, 4)),
        ((3, 9, 5), 3, (3, 2)),
        ((1, 1, 1), 7, (1, 1)),
        ((5,), 7, (1, 10)),
        ((), 7, (1, 2)),
    ],
)
def test_data_of_any_shape_have_a_grid_and_come_back(shape, grid, sides):
    domain = Discrete(shape, 4)
    found = sides_of(domain, grid, None)
    assert found[-1] == sides
    read = Reader(domain, found, 4, 1, 8, 6)(drawn(2, *shape))
    assert read.shape == (2, *sides, 6)
    assert Writer(domain, found, 4, 1, 8, 6, 5, 0)(read, None).shape == (2, *shape, 5)


# the model


def test_the_gradient_passes_through_the_choice():
    model, x = tiny(), torch.randint(2, (6, *PICTURE.shape), generator=generator(0))
    vectors = model._read(x).detach().requires_grad_()
    chosen = model.codebook.vectors[model.codebook.nearest(vectors)].detach().requires_grad_()
    through = model._written(vectors + (chosen - vectors).detach(), None).log_prob(x).sum()
    (passed,) = torch.autograd.grad(through, vectors)
    (direct,) = torch.autograd.grad(model._written(chosen, None).log_prob(x).sum(), chosen)
    torch.testing.assert_close(passed, direct)
    assert float(direct.abs().sum()) > 0


def test_the_loss_is_the_paper_s():
    model, x = tiny(beta=0.5), torch.randint(2, (6, *PICTURE.shape), generator=generator(0))
    vectors, codes = model._read(x), model._encode(x, None).x
    distances = (vectors - model.codebook.vectors[codes[:, 0]]).square().flatten(1).sum(1)
    expected = (0.5 * distances - model._decode(codes, None).log_prob(x)).mean()
    loss = model._loss(Batch(x), generator(0))
    torch.testing.assert_close(loss.total, expected)
    assert set(loss.parts) == {"bound", "reconstruction", "commitment", "perplexity", "used"}


def test_the_bound_is_one_term_of_the_sum_over_all_codes():
    model = learn(tiny(BITS), Batch(torch.randint(2, (200, 3), generator=generator(0))), steps=40)
    x = torch.cartesian_prod(*[torch.arange(2)] * 3)
    assert model.codes == Discrete((1, 1, 2), 4)
    grids = torch.cartesian_prod(torch.arange(4), torch.arange(4)).reshape(16, 1, 1, 2)
    log_joint = torch.stack([model.decode(z.expand(8, 1, 1, 2)).log_prob(x) - 2 * math.log(4) for z in grids])
    exact = log_joint.logsumexp(0)
    assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-5)
    score = model.score(x)
    mine = model.encode(x).mode.flatten(1) @ torch.tensor([4, 1])
    torch.testing.assert_close(score.values.float(), log_joint.gather(0, mine[None])[0])
    assert bool((score.values <= exact).all())
    assert score.kind == "lower_bound"
    assert float(score.mc_stderr.max()) == 0


def test_scoring_and_encoding_leave_the_codebook_alone():
    model, x = tiny(), torch.randint(2, (6, *PICTURE.shape), generator=generator(0))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    model.train()
    model.score(x)
    model.encode(x)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    model._loss(Batch(x), generator(0))
    assert not torch.equal(before["codebook.counts"], model.codebook.counts)


def test_codes_start_on_vectors_of_data_and_rest_towards_the_end():
    model, x = tiny(), torch.randint(2, (60, *PICTURE.shape), generator=generator(0))
    model.prepare(x, None, generator(0))
    nearest = torch.cdist(model.codebook.vectors, model._read(x).flatten(0, -2)).min(1).values
    assert float(nearest.detach().max()) < 1e-3
    for progress, settled in ((0.0, False), (SETTLED, True)):
        model.advance(progress)
        model.codebook.counts[3], model.codebook.sums[3] = 0.01, 1e3
        model._loss(Batch(x), generator(0))
        assert (float(model.codebook.counts[3]) < 0.5) is settled


def test_all_codes_are_used_where_dead_ones_start_anew():
    x = torch.randint(2, (300, *PICTURE.shape), generator=generator(0))
    used = {}
    for restart in (0.0, 0.05):
        model = tiny(codes=32, restart=restart, decay=0.9)
        model.prepare(x, None, generator(0))
        model.codebook.sums[4:] = 1e3 * (1 + torch.arange(28.0)[:, None])  # far from everything
        model = learn_prepared(model, x)
        used[restart] = len(model.encode(x).mode.unique())
    assert used[0.0] <= 4
    assert used[0.05] >= 29


def learn_prepared(model, x):
    model.prepare = lambda *_: None
    return learn(model, Batch(x), steps=100)


def test_two_shards_keep_one_codebook():
    x = torch.randint(2, (64, *PICTURE.shape), generator=generator(0))
    data = pmodel.data.Dataset("noise", PICTURE, *[pmodel.data.Split(x)] * 3)
    model = tiny(restart=0.0)
    recipe = Recipe(batch=32, ema=0.0)
    batches = Batches(data.train, PICTURE, recipe, 0, torch.device("cpu"), conditional=False, shards=2)
    stepper = Stepper(model, batches, recipe, 0, Arithmetic())
    before = model.codebook.counts.clone()
    stepper.step(0, 0.0)
    assert float(model.codebook.counts.sum()) == pytest.approx(4)
    assert not torch.equal(before, model.codebook.counts)


def test_make_gives_it_a_prior_of_its_codes():
    model = make("vqvae", PICTURE, grid=2, channels=4, layers=1, codes=8)
    assert isinstance(model, WithPrior)
    assert type(model.prior).__name__ == "Transformer"
    assert model.prior.domain == Discrete((1, 2, 2), 8)
    assert isinstance(model.encode(torch.zeros(1, 1, 8, 8)), Point)
    assert [phase.span for phase in model.phases()] == [(0.0, VQVAE.handover), (VQVAE.handover, 1.0)]
    assert type(make("vqvae", PICTURE, prior="none")).__name__ == "VQVAE"
    chosen = make("vqvae", PICTURE, prior="pixelcnn", **{"prior.layers": 3})
    assert (type(chosen.prior).__name__, chosen.prior.options["layers"]) == ("PixelCNN", 3)


def test_one_command_trains_both_stages_samples_and_scores():
    model = pmodel.fit("vqvae", "digits", size="tiny", steps=40)
    x = model.sample(5, generator=0)
    assert x.shape == (5, 1, 8, 8)
    score = model.score(x)
    assert score.kind == "lower_bound"
    assert bool(score.values.isfinite().all())


def test_a_label_is_told_to_decoder_and_prior():
    model = make("vqvae", PICTURE, Discrete((), 3), grid=2, channels=4, layers=1, codes=4)
    assert (model.given, model.prior.given) == (Discrete((), 3), Discrete((), 3))
    z = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    shown = [model.decode(z, given=label).mean for label in range(3)]
    assert not torch.equal(shown[0], shown[2])
    assert model.sample(4, given=1, generator=0).shape == (4, 1, 8, 8)


@pytest.mark.parametrize(("domain", "codes"), [(PICTURE, 4), (Discrete((1, 8, 8), 17), 64), (Real((2,)), 64)])
def test_data_of_two_levels_have_few_codes(domain, codes):
    assert VQVAE(domain, channels=4, width=8).codes.levels == codes


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"codes": 1}, RangeError, "codes"),
        ({"grid": 0}, RangeError, "grid"),
        ({"features": 0}, RangeError, "features"),
        ({"latent": 0}, RangeError, "latent"),
        ({"beta": -1.0}, RangeError, "beta=-1.0"),
        ({"decay": 1.0}, RangeError, "decay=1.0"),
        ({"restart": 1.5}, RangeError, "restart=1.5"),
        ({"likelihood": "normal"}, BadInput, "likelihood"),
    ],
)
def test_options_out_of_range_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        VQVAE(PICTURE, **options)


def test_real_data_have_codes_too():
    x = drawn(200, 2) * 5 + 30
    model = learn(make("vqvae", Real((2,)), **VQVAE.sizes["tiny"]), Batch(x), steps=60)
    assert model.encode(x).mode.shape == (200, 1, 1, 2)
    assert float((model.sample(500, generator=0).mean(0) - 30).abs().max()) < 5
