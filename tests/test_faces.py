"""Drawn faces: their factors are what they were drawn from, occur as often as they say, and change what they should."""

import math
from dataclasses import replace

import pytest
import torch

from pmodel.data import FACTORS, draw_faces, load_data
from pmodel.domain import Discrete
from pmodel.errors import BadInput, DataError, DtypeError, RangeError, ShapeError, UnknownName
from pmodel.metrics.judge import judge_for
from pmodel.train.augmentation import augmented

COLUMN = {name: k for k, name in enumerate(FACTORS)}
NAMED = [name for name, factor in FACTORS.items() if factor.values]
NUMBERS = [name for name in FACTORS if name not in NAMED]


@pytest.fixture(scope="module")
def faces():
    return load_data("faces")


@pytest.fixture(scope="module")
def people(faces):
    """The factors of 200 faces."""
    return faces.test.factors[:200]


def test_what_a_face_is(faces):
    assert faces.domain == Discrete((3, 32, 32), 256)
    assert [len(split) for split in faces.splits.values()] == [10_000, 1_000, 1_000]
    assert faces.train.x.dtype == torch.uint8
    assert faces.train.x.min() >= 0
    assert faces.factor_names == tuple(FACTORS)
    assert set(faces.factor_values) == set(NAMED)
    assert faces.hash == "5c8ae6b2bf9ef7d3f12eb7c31a420d1fc1d8080d1d352419e3a89368085583c6"


def test_a_changed_copy_changes_no_other(faces):
    load_data("faces").train.x.zero_()
    assert torch.equal(load_data("faces").train.x, faces.train.x)


def test_another_seed_draws_others(faces):
    other = load_data("faces", seed=1)
    assert other.hash != faces.hash
    assert not torch.equal(other.train.factors[:, -1], faces.train.factors[:, -1])


def test_nobody_is_in_two_splits(faces):
    everybody = torch.cat([split.factors for split in faces.splits.values()])
    assert len(everybody.unique(dim=0)) == len(everybody) == 12_000


def test_a_picture_is_its_factors_and_even_grain(faces):
    split = faces.test
    grain = split.x.int() - draw_faces(split.factors).int()
    levels, counts = grain.unique(return_counts=True)
    assert levels.tolist() == [-2, -1, 0, 1, 2]
    n = grain.numel()
    assert (counts / n - 0.2).abs().max() < 5 * math.sqrt(0.2 * 0.8 / n)


@pytest.mark.parametrize("name", NAMED)
def test_every_value_occurs_as_often_as_it_should(name, faces):
    factor, column = FACTORS[name], faces.train.factors[:, COLUMN[name]].long()
    shares = torch.tensor(factor.shares, dtype=torch.float64)
    assert float(shares.sum()) == pytest.approx(1)
    found = column.bincount(minlength=len(factor.values)) / len(column)
    assert ((found - shares).abs() < 5 * (shares * (1 - shares) / len(column)).sqrt()).all()


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_uniform(name, faces):
    factor, column = FACTORS[name], faces.train.factors[:, COLUMN[name]]
    ranks = (column.sort().values - factor.low) / (factor.high - factor.low)
    even = (torch.arange(len(ranks)) + 0.5) / len(ranks)
    assert (ranks - even).abs().max() < 2.2 / math.sqrt(len(ranks))  # Kolmogorov and Smirnov: one in 8000 by chance


def test_factors_are_independent(faces):
    between = torch.corrcoef(faces.train.factors.T) - torch.eye(len(FACTORS))
    assert between.abs().max() < 5 / math.sqrt(len(faces.train))


def test_grain_is_drawn_from_a_generator_or_a_seed_and_else_there_is_none(people):
    drawn = draw_faces(people, torch.Generator().manual_seed(4))
    assert torch.equal(drawn, draw_faces(people, generator=torch.Generator().manual_seed(4)))
    assert torch.equal(draw_faces(people, 4), draw_faces(people, generator=4))
    assert not torch.equal(draw_faces(people, 4), draw_faces(people, 5))
    assert torch.equal(draw_faces(people), draw_faces(people, generator=None))
    with pytest.raises(BadInput, match="-1"):
        draw_faces(people, -1)


def test_a_face_does_not_depend_on_its_company(people):
    assert torch.equal(draw_faces(people)[7:9], draw_faces(people[7:9]))
    assert draw_faces(people[:0]).shape == (0, 3, 32, 32)


# ---------------------------------------------------------------- one factor changes, the others are held


def seen(people):
    """Where each pixel is as seen from the middle of the head, in pixels of a face of size 1, and the factors beside it."""
    factor = {name: people[:, k, None, None] for name, k in COLUMN.items()}
    x = torch.arange(32, dtype=torch.float64) - 15.5
    angle = 2 * torch.atan(factor["tilt"] / 2)
    right, down = x - factor["across"], x[:, None] - factor["down"] - 2.2
    u = (angle.cos() * right + angle.sin() * down) / factor["size"]
    v = (angle.cos() * down - angle.sin() * right) / factor["size"]
    return u.abs(), v, factor


def at_eyes(u, v, factor):
    return ((u - factor["spacing"]).abs() < 3) & ((v + 0.6).abs() < 3)


def at_glasses(u, v, factor):
    return (u < 8.2 * factor["width"] + 2) & ((v + 0.6).abs() < 4)


def in_head(u, v, factor):
    return (u / (8.2 * factor["width"])).square() + (v / 9.6).square() < 0.8


REGIONS = {
    "glasses": at_glasses,
    "lens": at_glasses,
    "frame": at_glasses,
    "eye_colour": at_eyes,
    "gaze": at_eyes,
    "brows": lambda u, v, factor: (u < 8) & ((v + 3.6).abs() < 3),
    "smile": lambda u, v, factor: (u < 4.2) & ((v - 6) < 4) & (v > 3),
    "mouth": lambda u, v, factor: (u < 4.2) & (v < 9.5) & (v > 3),
    "beard": lambda u, v, factor: (u < 8.2 * factor["width"] + 2.2) & (v > -3.5),
    "hat": lambda u, v, factor: v < -2,
    "background": lambda u, v, factor: ~in_head(u, v, factor),
    "shade": lambda u, v, factor: ~in_head(u, v, factor),
    "clothes": lambda u, v, factor: (v < -2) | ~in_head(u, v, factor),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_factor_changes_nothing_elsewhere(name, people):
    before, region = draw_faces(people), REGIONS[name](*seen(people))
    factor = FACTORS[name]
    for value in factor.values or (factor.low, factor.high):
        changed = (draw_faces(people, **{name: value}) != before).any(1)
        assert not (changed & ~region).any()


@pytest.mark.parametrize("name", FACTORS)
def test_every_factor_is_visible(name, people):
    factor = FACTORS[name]
    ends = (factor.values[0], factor.values[-1]) if factor.values else (factor.low, factor.high)
    held = {"glasses": "yes", "hat": "cap"} if name in ("lens", "frame") else {"hat": "none", "hair": "short"}
    ends = {"hair": ("bald", "long"), "clothes": (0.0, 0.5)}.get(name, ends)
    first, second = (draw_faces(people, **(held | {name: end})).int() for end in ends)
    seen_in = ((first - second).abs().amax((1, 2, 3)) > 8).double().mean()
    assert seen_in > 0.99


def test_frames_matter_only_where_there_are_glasses(people):
    pictures = [draw_faces(people, glasses="no", frame=f, lens=r) for f, r in ((0.0, 0.0), (1.0, 1.0))]
    assert torch.equal(*pictures)


def test_the_face_of_a_mirrored_head_is_the_mirrored_face(people):
    signs = torch.ones(len(FACTORS), dtype=torch.float64)
    for name in ("across", "tilt", "gaze", "light"):
        signs[COLUMN[name]] = -1
        assert FACTORS[name].low == -FACTORS[name].high  # as likely one way as the other: flipping is sound
    assert torch.equal(draw_faces(people * signs), draw_faces(people).flip(3))


def test_flipping_mirrors_whole_colours(faces):
    x = faces.test.x[:64]
    flipped = augmented(x, ["flip"], torch.Generator().manual_seed(0))
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert (mirrored | (flipped == x).flatten(1).all(1)).all()
    assert 16 < int(mirrored.sum()) < 48


# ---------------------------------------------------------------- labels and views


def test_glasses_are_the_label(faces):
    assert faces.label_names == ("no", "yes")
    assert faces.given == Discrete((), 2)
    assert torch.equal(faces.test.y, faces.test.factors[:, 0].long())


@pytest.mark.parametrize("view", ["1", "yes"])
def test_a_view_keeps_labels(view, faces):
    kept = load_data(f"faces:{view}")
    assert kept.given is None
    assert kept.parent == "faces"
    assert (kept.train.factors[:, 0] == 1).all()
    assert len(kept.train) == int((faces.train.y == 1).sum())


def test_a_view_labels_by_another_factor(faces):
    hats = load_data("faces:hat")
    assert hats.label_names == FACTORS["hat"].values
    assert torch.equal(hats.train.y, faces.train.factors[:, COLUMN["hat"]].long())
    assert torch.equal(hats.train.x, faces.train.x)
    assert (hats.name, hats.source, hats.parent) == ("faces:hat", "faces:hat", "")
    assert hats.hash != faces.hash
    assert hats.hash == faces.by("hat").hash


def test_a_view_keeps_values_of_another_factor():
    capped = load_data("faces:hat=cap,top")
    assert (capped.name, capped.source, capped.parent) == ("faces:hat=cap,top", "faces:hat=cap,top", "faces:hat")
    assert capped.label_names == ("cap", "top")
    assert capped.train.factors[:, COLUMN["hat"]].unique().tolist() == [1, 3]


@pytest.mark.parametrize(
    ("view", "complaint"),
    [
        ("smile", "(?s)smile.*known: no, yes, glasses, hair"),
        ("hats", "(?s)label or factor of faces.*hats.*did you mean hat.*known: no, yes, glasses, hair"),
        ("hat=fez", "(?s)fez.*none, cap, beanie"),
        ("hut=cap", "hut=cap"),
        ("hat=", "label"),
    ],
)
def test_views_that_there_are_not(view, complaint):
    with pytest.raises(UnknownName, match=complaint):
        load_data(f"faces:{view}")


@pytest.mark.parametrize(
    ("chain", "source", "parent"),
    [
        ([("only", "yes")], "faces:yes", "faces"),
        ([("only", "1")], "faces:1", "faces"),
        ([("by", "hat")], "faces:hat", ""),
        ([("by", "hat"), ("by", "beard")], "faces:beard", ""),
        ([("by", "hat"), ("only", "cap,top")], "faces:hat=cap,top", "faces:hat"),
        ([("by", "hat"), ("by", "glasses"), ("only", "yes")], "faces:glasses=yes", "faces:glasses"),
    ],
)
def test_a_view_is_its_source_again(chain, source, parent):
    data = load_data("faces", seed=2)
    for verb, choice in chain:
        data = getattr(data, verb)(choice)
    again = load_data(data.source, **data.options)
    assert (data.name, data.source, data.parent) == (source, source, parent)
    assert (again.name, again.source, again.parent) == (source, source, parent)
    assert again.hash == data.hash
    assert again.label_names == data.label_names


@pytest.mark.parametrize(
    ("view", "factor", "hint"),
    [
        ("yes", "hat", "faces:hat=top"),
        ("hat=cap,top", "beard", "faces:beard=full"),
        ("hat=cap", "hat", "faces:hat=top"),
    ],
)
def test_some_labels_are_not_labelled_anew(view, factor, hint):
    with pytest.raises(DataError, match=f"(?s){view}.*{factor}.*label first, then choose: {hint}$"):
        load_data(f"faces:{view}").by(factor)


def test_numbers_are_no_labels(faces):
    with pytest.raises(UnknownName, match=r"(?s)skin.*glasses, hair"):
        faces.by("skin")
    with pytest.raises(UnknownName):
        load_data("digits").by("hat")


def test_data_without_factors_have_no_labels_of_them(faces):
    with pytest.raises(DataError, match=r"(?s)no factors.*column 3.*faces"):
        load_data("digits").train.labelled(3)


# ---------------------------------------------------------------- what cannot be drawn


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"hut": "cap"}, UnknownName, "hat"),
        ({"hat": "capp"}, UnknownName, "cap"),
        ({"hat": 4}, RangeError, "0 to 3"),
        ({"hat": 1.5}, RangeError, "hat"),
        ({"smile": 1.5}, RangeError, "smile of a face is a number from -0.6 to 1"),
        ({"smile": math.nan}, RangeError, "nan"),
        ({"smile": "broad"}, DtypeError, r"(?s)a number from -0.6 to 1.*'broad'"),
        ({"smile": None}, DtypeError, "None"),
        ({"smile": True}, DtypeError, "True"),
        ({"smile": [0.5]}, DtypeError, r"\[0.5\]"),
        ({"hat": None}, DtypeError, "(?s)none, cap, beanie, top.*None"),
        ({"hat": False}, DtypeError, "False"),
    ],
)
def test_what_no_face_has(changes, error, complaint, people):
    with pytest.raises(error, match=complaint):
        draw_faces(people, **changes)


@pytest.mark.parametrize("factors", [torch.zeros(23), torch.zeros(2, 22)])
def test_faces_need_all_factors(factors):
    with pytest.raises(ShapeError, match="23 factors"):
        draw_faces(factors)


def test_factors_are_a_tensor():
    with pytest.raises(DtypeError, match="list"):
        draw_faces([[0.0] * 23])


# ---------------------------------------------------------------- the judge


def hats_in_features(data, folder) -> float:
    """How far, in standard deviations, a cap moves the features of bare-headed people."""
    judge = judge_for(data, folder, steps=150)
    people = data.test.factors[:100]
    bare, capped = (judge(draw_faces(people, hat=hat)) for hat in ("none", "cap"))
    move = (capped - bare).mean(0)
    return float(move.square().sum().sqrt() / bare.var(0).sum().sqrt())


@pytest.mark.slow
def test_the_judge_of_glasses_sees_hats_too(faces, tmp_path):
    small = replace(faces, train=faces.train.take(torch.arange(2000)), valid=faces.valid.take(torch.arange(100)))
    blind = replace(small, factor_values={})
    assert hats_in_features(small, tmp_path) > 1.5 * hats_in_features(blind, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # each is kept under what it depends on
