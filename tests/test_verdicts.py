"""Verdicts on kinds of models, forced: dead codes, and discrete codes that say nothing."""

import pytest
import torch

import pmodel
from pmodel import catalogue
from pmodel.data import Dataset, Split
from pmodel.distribution import Bernoulli, Categorical, Point
from pmodel.domain import Discrete
from pmodel.randomness import generator
from pmodel.train import Diagnosed, Stepped
from pmodel.train.doctor import LEAST_STEPS, Doctor
from pmodel.train.verdicts.codes import dead_codes, levels_of, silent_codes
from pmodel.train.verdicts.remedies import Patient

PICTURE = Discrete((1, 8, 8), 2)


PATIENT = Patient(dict.fromkeys(("restart", "codes", "decay", "beta")))


def verdicts(q, levels, different=True):
    found = (
        silent_codes(q, levels, lambda: different, PATIENT),
        dead_codes(q.sample(generator(0)), levels, PATIENT),
    )
    return [verdict for verdict in found if verdict is not None]


def random_codes(levels, n=64):
    return torch.randint(levels, (n, 1, 2, 2), generator=generator(0))


def test_codes_that_are_all_used_get_no_verdict():
    assert verdicts(Point(random_codes(4)), 4) == []
    assert verdicts(Categorical(torch.randn(64, 1, 2, 2, 4, generator=generator(0))), 4) == []


def test_dead_codes_are_counted_and_get_a_remedy():
    (found,) = verdicts(Point(random_codes(4)), 16)
    assert (found.name, found.fatal) == ("dead codes", False)
    assert "12 of 16 codes stand at none of the 256 places of 64 data" in found.words
    assert "count as 3.9" in found.words
    assert "restart=0.05" in found.remedy


def test_half_of_the_codes_may_be_dead_and_few_data_prove_nothing():
    assert verdicts(Point(random_codes(8)), 16) == []
    assert verdicts(Point(random_codes(4)), 64) == []


@pytest.mark.parametrize(
    "q",
    [
        Point(torch.full((64, 1, 2, 2), 3)),
        Categorical(torch.zeros(64, 1, 2, 2, 4)),
        Bernoulli(torch.full((64, 1, 2, 2), 0.3)),
    ],
    ids=["one code", "uniform", "bits"],
)
@pytest.mark.parametrize("different", [True, False])
def test_codes_that_say_nothing_are_a_collapsed_posterior(q, different):
    found, *_ = verdicts(q, 2 if isinstance(q, Bernoulli) else 4, different=different)
    assert (found.name, found.fatal) == ("posterior collapse", different)
    assert "None of the 4 entries of the code says more than" in found.words


@pytest.mark.parametrize(
    ("name", "options", "verdict", "remedy"),
    [
        ("rbm", {"hidden": 8}, "silent code", "lower the learning rate"),
        ("dvae", {"prior": "none"}, "posterior collapse", "lower the weight of the KL"),
        ("vqvae", {"prior": "none"}, "silent code", "start dead codes anew"),
    ],
)
def test_a_collapse_is_that_of_a_posterior_which_is_learned_under_a_bound(name, options, verdict, remedy):
    """Not that of a Boltzmann machine, which has no other p(h | x), nor of a map."""
    x = torch.randint(2, (400, *PICTURE.shape), generator=generator(0))
    model = pmodel.make(name, PICTURE, **{**catalogue.find(name).load().sizes["tiny"], **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    doctor = Doctor(model, Dataset("noise", PICTURE, *[Split(x)] * 3), 0)
    doctor.listen(Stepped(LEAST_STEPS, 1000, {"fit.loss": 45.0}, 1, 1.0))
    (found,) = [found for found in doctor.examine() if found.name in ("posterior collapse", "silent code")]
    assert found.name == verdict
    assert found.remedy.startswith(remedy)


def test_models_without_discrete_codes_are_not_meant():
    model = pmodel.make("vae", PICTURE, **catalogue.find("vae").load().sizes["tiny"])
    assert levels_of(model) == 0
    assert levels_of(pmodel.make("gaussian", pmodel.Real((2,)))) == 0
    assert levels_of(pmodel.make("rbm", PICTURE)) == 2


def test_a_run_whose_codes_die_is_told_so(monkeypatch):
    """A codebook that is far from everything the encoder says, and that may not start anew."""
    x = torch.randint(2, (400, *PICTURE.shape), generator=generator(0))
    x[:, :, 4:] = x[:, :, :4]
    data = Dataset("noise", PICTURE, *[Split(x)] * 3)
    cls = catalogue.find("vqvae").load()
    prepared = cls.prepare

    def far(self, subset, given, noise):
        prepared(self, subset, given, noise)
        self.codebook.sums[2:] = 1e3

    monkeypatch.setattr(cls, "prepare", far)
    found = {}
    for restart in (0.0, 0.05):
        events = []
        options = {**cls.sizes["tiny"], "codes": 16, "restart": restart, "decay": 0.9, "prior": "none"}
        pmodel.fit("vqvae", data, steps=110, on_event=events.append, **options)
        found[restart] = {e.diagnosis.name for e in events if isinstance(e, Diagnosed) and e.step == 110}
    assert "dead codes" in found[0.0]
    assert "dead codes" not in found[0.05]
