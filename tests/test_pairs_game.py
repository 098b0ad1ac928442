"""What the options of a game do in every pair: what its discriminator is shown, and that labels reach it."""

import pytest
import torch

from pmodel import catalogue
from pmodel.domain import Discrete, Real
from pmodel.errors import BadInput
from pmodel.implicit.cyclegan import CycleGAN
from pmodel.implicit.game import augmentation
from pmodel.learning import Batch

PICTURES = ("dcgan", "sagan", "progan", "transgan")
PICTURE, PLANE, LABEL = Discrete((1, 8, 8), 17), Real((3,)), Discrete((), 3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(name, given=None, **options):
    cls = catalogue.find(name).load()
    return cls(PLANE if name == "gan" else PICTURE, given, **{**cls.sizes["tiny"], **options})


def batch(model, n=6):
    x = torch.randn(n, 3, generator=seeded()) if model.domain == PLANE else torch.randint(17, (n, 1, 8, 8))
    return Batch(x, torch.arange(n) % 3 if model.given else None)


def shown(model, monkeypatch):
    """The shapes that the discriminator is called with, phase by phase."""
    judged, found = model._judged, []

    def watched(x, given):
        found[-1].append(tuple(x.shape))
        return judged(x, given)

    monkeypatch.setattr(model, "_judged", watched)
    for phase in model.phases()[-2:]:
        found.append([])
        phase.loss(batch(model), seeded())
    return found


@pytest.mark.parametrize("name", ["gan", *PICTURES])
def test_both_players_are_judged_in_packs(name, monkeypatch):
    model, of_one = pair(name, packing=2, penalised_part=1.0), (2, 8, 8) if name in PICTURES else (6,)
    packs = [(3, *of_one)] * 2
    assert shown(model, monkeypatch) == [packs if model.batchwise else [(6, *of_one)], packs]
    with pytest.raises(BadInput, match="pack of 8"):
        pair(name, packing=8).phases()[-1].loss(batch(pair(name)), seeded())


@pytest.mark.parametrize("name", ["gan", *PICTURES])
def test_slopes_in_a_part_of_a_batch_are_taken_beside_it(name, monkeypatch):
    of_one = (1, 8, 8) if name in PICTURES else (3,)
    if pair(name).batchwise:
        with pytest.raises(BadInput, match="by its batch"):
            pair(name, penalised_part=0.3)
    else:
        assert shown(pair(name, penalised_part=0.3), monkeypatch)[0] == [(12, *of_one), (4, *of_one)]


@pytest.mark.parametrize("name", PICTURES)
def test_both_players_are_judged_by_changed_pictures(name, monkeypatch):
    changed = []

    def counted(x, generator):
        changed.append(x.requires_grad)
        return x

    monkeypatch.setitem(augmentation.CHANGES, "hole", counted)
    model = pair(name, changes=["hole"])
    discriminator, generator = model.phases()[-2:]
    discriminator.loss(batch(model), seeded())
    assert changed == [False, False]
    changed.clear()
    generator.loss(batch(model), seeded())
    assert sorted(changed) == [False, True]  # a gradient goes through the change of samples


@pytest.mark.parametrize("domain", [PLANE, Real((1, 8, 8))])
def test_only_pictures_with_levels_are_changed(domain):
    with pytest.raises(BadInput, match="pictures with levels"):
        catalogue.find("gan").load()(domain, changes=["translation"])


@pytest.mark.parametrize("name", ["gan", *PICTURES])
def test_the_discriminator_reads_labels(name):
    model = pair(name, LABEL).eval()
    x = model._seen(batch(model).x)
    with torch.no_grad():
        logits = torch.stack([model._judged(x, torch.full((6,), label)) for label in range(3)])
    assert logits.shape == (3, 6)
    assert all(len(set(column.tolist())) == 3 for column in logits.T)


@pytest.mark.parametrize("name", ["gan", *PICTURES])
def test_a_loss_leaves_the_batch_as_it_was(name):
    model = pair(name)
    data = batch(model)
    before = data.x.clone()
    model.phases()[-2].loss(data, seeded()).total.backward()
    assert not data.x.requires_grad
    assert torch.equal(data.x, before)


@pytest.mark.parametrize("name", ["gan", *PICTURES])
@pytest.mark.parametrize(("loss", "biased"), [("hinge", True), ("relativistic", False), ("wasserstein", False)])
def test_a_discriminator_has_a_bias_where_its_loss_sees_one(name, loss, biased):
    linear = [part for part in pair(name, loss=loss).discriminator.modules() if isinstance(part, torch.nn.Linear)]
    (head,) = (part for part in linear if part.out_features == 1)
    assert (head.bias is not None) is biased


@pytest.mark.parametrize("name", ["gan", *PICTURES])
def test_a_wasserstein_critic_is_not_left_without_a_bound(name):
    with pytest.raises(BadInput, match="penalty=0"):
        pair(name, loss="wasserstein", penalty=0.0)


def test_no_penalty_bounds_the_critics_of_cyclegan_and_spectral_norms_bound_those_of_sagan():
    with pytest.raises(BadInput, match="loss=wasserstein"):
        CycleGAN(PICTURE, loss="wasserstein")
    assert pair("sagan", loss="wasserstein", penalty=0.0, spectral=True).game.penalty == 0
