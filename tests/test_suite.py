"""The suite's own face: what it takes, what it yields, and what its measures measure."""

import math

import pytest
import torch

from pmodel.domain import Column, Discrete, Real, Sequences, Table
from pmodel.errors import BadInput, PmodelError, UnknownName
from pmodel.randomness import generator
from pmodel.testing import Check, ConformanceError, Result, conformance, run_conformance
from pmodel.testing.cases import CASES, FREQUENCIES, toy
from pmodel.testing.laws import LAWS
from pmodel.testing.measure import Masses, Nodes, chi_square, grid, numbers, z_scores
from pmodel.testing.subject import NODES
from reference_models import Bell, Chain, Counted


class Refusing(Bell):
    @classmethod
    def refuses(cls, domain):
        return "it takes nothing"


class Unbuildable(Bell):
    @classmethod
    def tiny(cls, domain, given=None):
        return cls(domain, given, width=3)


def test_a_name_a_class_and_an_instance_have_checks():
    by_name = {check.name for check in conformance("gaussian")}
    assert {check.case for check in conformance(Counted)} == {
        "die",
        "die, given a label",
        "bits",
        "bits, given a label",
    }
    of_instance = list(conformance(Bell(Real((3,)))))
    assert {check.case for check in of_instance} == {"as given"}
    assert {check.law for check in of_instance} <= {name.partition("[")[0] for name in by_name}
    for check in of_instance:
        check()


def test_an_instance_is_not_changed():
    model = Bell(Real((2,)))
    run_conformance(model)
    assert model.mu.tolist() == [0, 0]
    assert model.training


def test_checks_have_names_and_say_what_the_law_says():
    checks = list(conformance("mixture", slow=True))
    assert all(isinstance(check, Check) for check in checks)
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.line.endswith(".") for check in checks)
    assert len({law.name for law in LAWS}) == len(LAWS)


def test_slow_checks_are_asked_for():
    fast, slow = ({check.law for check in conformance("gaussian", slow=slow)} for slow in (False, True))
    assert slow - fast == {"learns_its_data"}


def test_results_of_a_run_and_its_progress():
    seen = []
    results = run_conformance(Chain, progress=lambda done, total, result: seen.append((done, total, result)))
    assert [result for _, _, result in seen] == results
    assert [done for done, _, _ in seen] == list(range(1, seen[0][1] + 1))
    assert all(isinstance(result, Result) and result.passed and result.message == "" for result in results)


def test_a_model_that_cannot_be_built_has_a_check_that_fails():
    check = next(conformance(Unbuildable))
    assert check.law == "can_be_built"
    with pytest.raises(ConformanceError, match="cannot be built for die"):
        check()
    assert not run_conformance(Unbuildable)[0].passed


def test_what_cannot_be_checked():
    with pytest.raises(BadInput, match="accepts none of the cases"):
        list(conformance(Refusing))
    with pytest.raises(UnknownName):
        next(conformance("gausian"))


def test_a_broken_law_is_an_error_of_pmodel_and_an_assertion():
    assert issubclass(ConformanceError, PmodelError)
    assert issubclass(ConformanceError, AssertionError)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_toy_data_are_of_their_domain_and_have_structure(case):
    data = toy(case, 4000, generator(0))
    assert torch.equal(torch.nan_to_num(case.domain.check(data.x)), torch.nan_to_num(data.x))
    x = data.x
    if isinstance(case.domain, Sequences):
        assert case.domain.lengths(x).unique().tolist() == list(range(1 - case.domain.ends, case.domain.longest + 1))
        x = x[case.domain.lengths(x) == case.domain.longest]
    flat = torch.nan_to_num(x.flatten(1).double(), nan=float(x.nanmean() if x.is_floating_point() else 0))
    assert bool((flat.std(0) > 0.1).all())
    if flat.shape[1] > 1 and case.given is None:
        assert float(torch.corrcoef(flat.T)[0, 1].abs()) > 0.1
    if data.given is not None:
        frequencies = torch.bincount(data.given).double() / 4000
        torch.testing.assert_close(frequencies, torch.tensor(FREQUENCIES).double(), atol=0.03, rtol=0)
        everything = numbers(data.x) if isinstance(case.domain, Sequences) else flat
        means = torch.stack([everything[data.given == label].mean(0) for label in range(3)])
        assert float(means.std(0).max()) > 0.2 * float(flat.std(0).max())
    assert (data.observed is None) == (not case.domain.missing)


def normal_at(nodes, mu, std):
    t = (nodes.x.flatten(1).double() - mu) / std
    return (-0.5 * t.square() - math.log(std) - 0.5 * math.log(2 * math.pi)).sum(1).exp()


@pytest.mark.parametrize(("d", "cells"), [(1, NODES["exact"][1]), (2, NODES["exact"][2])])
def test_quadrature_is_one_within_a_thousandth_and_sees_half_a_percent(d, cells):
    around = 30 + 5 * torch.randn(4000, d, generator=generator(0))
    nodes = grid(Real((d,)), around, tuple(range(d)), cells, generator(1))
    p = normal_at(nodes, 30.0, 5.0)
    total, _ = Masses(nodes, p, torch.zeros_like(p)).total
    assert abs(total - 1) < 2e-4
    total, _ = Masses(nodes, 1.005 * p, torch.zeros_like(p)).total
    assert abs(total - 1) > 1e-3


def test_quadrature_of_a_hard_edge_is_not_biased():
    around = torch.rand(4000, 2, generator=generator(0))
    errors = []
    for seed in range(20):
        nodes = grid(Real((2,)), around, (0, 1), 101, generator(seed))
        p = ((nodes.x > 0.03) & (nodes.x < 0.93)).all(1).double() / 0.81
        errors.append(Masses(nodes, p, torch.zeros_like(p)).total[0] - 1)
    errors = torch.tensor(errors)
    assert abs(float(errors.mean())) < 4 * float(errors.std()) / 20**0.5
    assert float(errors.std()) < 5e-3


def test_mixed_nodes_list_what_is_discrete():
    table = Table((Column("a"), Column("b", "category", categories=("x", "y", "z"))))
    nodes = grid(table, torch.tensor([[0.0, 0.0], [1.0, 2.0]]).double(), (0, 1), 10, generator(0))
    assert nodes.x.shape == (30, 2)
    assert nodes.x[:, 1].unique().tolist() == [0, 1, 2]
    assert float(nodes.weights.sum()) == pytest.approx(3 * 2)


@pytest.mark.parametrize(
    ("wider", "shift", "caught"), [(1.0, 0.0, False), (1.02, 0.0, True), (0.98, 0.0, True), (1.0, 0.03, True)]
)
def test_smooth_features_find_two_percent_and_do_not_flag_the_right_model(wider, shift, caught):
    x = torch.randn(65_536, 2, generator=generator(0)).double()
    nodes = grid(Real((2,)), x, (0, 1), 301, generator(1))
    p = normal_at(nodes, 0.0, 1.0)
    deviation = float(z_scores(wider * x + shift, Masses(nodes, p, torch.zeros_like(p))).abs().max())
    assert (deviation > 5) == caught


def test_smooth_features_do_not_flag_right_models_often():
    nodes = grid(Real((1,)), torch.randn(4000, 1, generator=generator(0)), (0,), 2000, generator(1))
    p = normal_at(nodes, 0.0, 1.0)
    masses = Masses(nodes, p, torch.zeros_like(p))
    draws = (torch.randn(65_536, 1, generator=generator(seed)).double() for seed in range(40))
    assert max(float(z_scores(x, masses).abs().max()) for x in draws) < 5


DIE = Discrete((1,), 6)


def die_masses(p, stderr=0.0):
    p = torch.tensor(p).double()
    return Masses(Nodes(torch.arange(6).unsqueeze(1), torch.ones(6).double()), p, torch.full_like(p, stderr))


def rolls(p, seed=0):
    return torch.multinomial(torch.tensor(p), 65_536, replacement=True, generator=generator(seed)).unsqueeze(1)


FAIR = [0.2, 0.1, 0.2, 0.1, 0.3, 0.1]


def test_chi_square_is_calibrated_and_finds_a_percent():
    deviations = [chi_square(rolls(FAIR, seed), die_masses(FAIR), DIE, clamped=False) for seed in range(60)]
    assert max(deviations) < 4
    assert abs(sum(deviations) / 60) < 0.5
    assert chi_square(rolls([0.19, 0.11, 0.2, 0.1, 0.3, 0.1]), die_masses(FAIR), DIE, clamped=False) > 5


def test_chi_square_allows_for_the_error_of_the_masses():
    wrong = [0.19, 0.11, 0.2, 0.1, 0.3, 0.1]
    assert chi_square(rolls(wrong), die_masses(FAIR, stderr=0.01), DIE, clamped=False) < 3


def test_chi_square_of_the_impossible_is_infinite_but_for_clamped_edges():
    p = [0.0, 0.2, 0.3, 0.2, 0.2, 0.1]
    assert chi_square(rolls(FAIR), die_masses(p), DIE, clamped=False) == math.inf
    tails = [0.1, 0.2, 0.2, 0.2, 0.2, 0.1]
    low = die_masses([0.05, 0.2, 0.2, 0.2, 0.2, 0.05])
    assert chi_square(rolls(tails), low, DIE, clamped=True) < 3
    assert chi_square(rolls(tails), low, DIE, clamped=False) > 5
