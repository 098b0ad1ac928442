"""The recursions of hidden Markov models against the sum over all paths of states."""

import itertools
import math

import pytest
import torch

from pmodel.explicit.tractable.hmm import forward_backward, segments
from pmodel.explicit.tractable.hmm.forward_backward import Chain, filtered, smoothed
from pmodel.explicit.tractable.hmm.log_space import log_filtered, log_smoothed
from pmodel.explicit.tractable.hmm.packing import Packing
from pmodel.explicit.tractable.hmm.paths import best_paths, drawn_paths

LENGTHS = torch.tensor([3, 5, 1, 5, 2])


def chain_of(states, seed=0, *, leaky=False):
    g = torch.Generator().manual_seed(seed)
    initial = torch.rand(states, generator=g, dtype=torch.float64)
    transition = torch.rand(states, states, generator=g, dtype=torch.float64)
    transition /= transition.sum(1, keepdim=True) * (1.25 if leaky else 1.0)
    return Chain(initial / initial.sum(), transition)


def likelihoods(states, lengths=LENGTHS, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(int(lengths.sum()), states, generator=g, dtype=torch.float64)


def enumerated(chain, b):
    """Every path of one sequence with likelihoods ``(T, K)``, and its joint probability with the data."""
    states = range(len(chain.initial))
    paths = torch.tensor(list(itertools.product(states, repeat=len(b))))
    p = chain.initial[paths[:, 0]] * b[0, paths[:, 0]]
    for t in range(1, len(b)):
        p = p * chain.transition[paths[:, t - 1], paths[:, t]] * b[t, paths[:, t]]
    return paths, p


def of_sequence(packing, rows, n):
    return rows[packing.sequence == n]  # rows stand in the order of time


def test_packing_puts_the_longest_first_and_everything_back():
    packing = Packing.of(LENGTHS)
    assert packing.order.tolist() == [1, 3, 0, 4, 2]
    assert packing.sizes == [5, 4, 3, 2, 2]
    assert packing.spans == [(0, 5, 1), (5, 4, 1), (9, 3, 1), (12, 2, 2)]
    x = torch.arange(25.0).reshape(5, 5)
    back = packing.unpack(packing.pack(x), torch.full((5, 5), -1.0))
    there = torch.arange(5) < LENGTHS[:, None]
    assert torch.equal(back, torch.where(there, x, -1.0))
    assert packing.summed(packing.pack(torch.ones(5, 5))).tolist() == LENGTHS.tolist()


@pytest.mark.parametrize("lengths", [torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0])])
def test_nothing_is_packed_to_nothing(lengths):
    packing = Packing.of(lengths)
    chain, nothing = chain_of(2), torch.zeros(0, 2, dtype=torch.float64)
    assert smoothed(chain, nothing, packing).log_prob.tolist() == [0.0] * len(lengths)
    assert log_filtered(chain, nothing, packing)[0].tolist() == [0.0] * len(lengths)
    assert len(best_paths(chain, nothing, packing)) == 0


@pytest.mark.parametrize("leaky", [False, True])
@pytest.mark.parametrize("states", [1, 2, 3])
class TestAgainstAllPaths:
    @pytest.fixture(params=["scaled", "scaled, middling steps", "scaled, large steps", "logarithms"])
    def found(self, request, states, leaky, monkeypatch):
        chain, b, packing = chain_of(states, leaky=leaky), likelihoods(states), Packing.of(LENGTHS)
        scaled = request.param != "logarithms"
        if request.param == "scaled, middling steps":
            monkeypatch.setattr(forward_backward, "ALONE", 2 * states**2)
        if request.param == "scaled, large steps":
            monkeypatch.setattr(forward_backward, "SMALL", 0)  # PyTorch's operations, as on another device
        smooth = smoothed(chain, b.clone(), packing) if scaled else log_smoothed(chain, b.log(), packing)
        return chain, b, packing, smooth

    def test_log_likelihood(self, found):
        chain, b, packing, smooth = found
        for n in range(len(LENGTHS)):
            _, p = enumerated(chain, of_sequence(packing, b, n))
            assert smooth.log_prob[n].exp().item() == pytest.approx(p.sum().item(), rel=1e-12)
        assert not smooth.lost.any()

    def test_posteriors_of_states_and_transitions(self, found):
        chain, b, packing, smooth = found
        states = len(chain.initial)
        transitions = torch.zeros(states, states, dtype=torch.float64)
        for n, length in enumerate(LENGTHS.tolist()):
            paths, p = enumerated(chain, of_sequence(packing, b, n))
            p = p / p.sum()
            gamma = torch.stack([p @ (paths == k).double() for k in range(states)], 1)
            assert torch.allclose(of_sequence(packing, smooth.gamma, n), gamma, atol=1e-12)
            for t in range(length - 1):
                transitions.index_put_((paths[:, t], paths[:, t + 1]), p, accumulate=True)
        assert torch.allclose(smooth.transitions, transitions, atol=1e-12)

    def test_filtering_is_smoothing_of_the_past(self, states, leaky):
        chain, b, packing = chain_of(states, leaky=leaky), likelihoods(states), Packing.of(LENGTHS)
        alpha = filtered(chain, b, packing).alpha
        logs = log_filtered(chain, b.log(), packing)[1]
        for n, length in enumerate(LENGTHS.tolist()):
            for t in range(length):
                paths, p = enumerated(chain, of_sequence(packing, b, n)[: t + 1])
                now = torch.stack([p @ (paths[:, t] == k).double() for k in range(states)])
                mine = of_sequence(packing, alpha, n)[t]
                assert torch.allclose(mine / mine.sum(), now / now.sum(), atol=1e-12)
                assert torch.allclose(of_sequence(packing, logs, n)[t].exp(), now, atol=1e-12)

    def test_viterbi(self, states, leaky):
        chain, b, packing = chain_of(states, leaky=leaky), likelihoods(states), Packing.of(LENGTHS)
        path = best_paths(chain, b.log(), packing)
        for n in range(len(LENGTHS)):
            paths, p = enumerated(chain, of_sequence(packing, b, n))
            assert of_sequence(packing, path, n).tolist() == paths[p.argmax()].tolist()


def test_drawn_paths_follow_the_posterior():
    chain, n = chain_of(3), 60_000
    packing = Packing.of(torch.full((n,), 3))
    b = likelihoods(3, torch.tensor([3]))
    many = b.repeat_interleave(n, 0)
    drawn = drawn_paths(chain, filtered(chain, many, packing).alpha.log(), packing, torch.Generator().manual_seed(0))
    drawn = drawn.reshape(3, n).T
    paths, p = enumerated(chain, b)
    p = p / p.sum()
    counts = torch.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27)
    index = paths @ torch.tensor([9, 3, 1])
    expected = n * p
    chi2 = ((counts[index] - expected).square() / expected).sum()
    assert chi2 < 26 + 5 * (2 * 26) ** 0.5


def test_long_sequences_stay_in_range():
    chain, lengths = chain_of(4), torch.tensor([5000, 4999, 10])
    packing, b = Packing.of(lengths), likelihoods(4, lengths)
    exact = log_smoothed(chain, b.log(), packing)
    found = smoothed(chain, b.clone(), packing)
    assert torch.allclose(found.log_prob, exact.log_prob, rtol=1e-12)
    assert torch.allclose(found.gamma, exact.gamma, atol=1e-10)
    assert torch.allclose(found.transitions, exact.transitions, rtol=1e-9)


@pytest.mark.parametrize("states", [1, 3])
@pytest.mark.parametrize("length", [1, 3, 4, 100])
class TestSegments:
    lengths = torch.tensor([37, 4, 0, 1, 90, 37])

    def test_they_change_nothing(self, states, length):
        chain, b, packing = chain_of(states, leaky=True), likelihoods(states, self.lengths), Packing.of(self.lengths)
        whole = smoothed(chain, b.clone(), packing)
        found = segments.Cut(packing, length).smoothed(chain, b.clone())
        assert torch.allclose(found.log_prob, whole.log_prob, rtol=1e-12)
        assert torch.allclose(found.gamma, whole.gamma, atol=1e-12)
        assert torch.allclose(found.transitions, whole.transitions, rtol=1e-10)
        cut = segments.Cut(packing, length)
        assert torch.allclose(cut.of_sequences(cut.forward(chain, b[cut.rows]).log_prob), whole.log_prob, rtol=1e-12)

    def test_what_they_lose_is_told(self, states, length):
        chain, b, packing = chain_of(states), likelihoods(states, self.lengths), Packing.of(self.lengths)
        b[(packing.sequence == 4) & (packing.time == 50)] = 0.0
        found = segments.Cut(packing, length).smoothed(chain, b.clone())
        assert found.lost.nonzero().tolist() == [[4]]
        assert found.gamma.isfinite().all()
        others = torch.tensor([37, 4, 0, 1, 0, 37])
        rest = smoothed(chain, b[packing.sequence != 4], Packing.of(others))
        assert torch.allclose(found.transitions, rest.transitions, rtol=1e-10)


def test_segments_are_for_long_sequences_with_few_states():
    assert segments.segment_length(Packing.of(torch.tensor([100_000])), 8) == 632
    assert segments.segment_length(Packing.of(torch.full((100,), 20)), 8) is None
    assert segments.segment_length(Packing.of(torch.full((100,), 1000)), 64) is None


class TestBeyondTheRange:
    """Two closed worlds: the data say that it is the second, the start that it is the first."""

    chain = Chain(torch.tensor([1.0, 0.0], dtype=torch.float64), torch.eye(2, dtype=torch.float64))

    def test_what_is_unlikely_by_thousands_of_nats_is_lost_and_told(self):
        packing = Packing.of(torch.tensor([3, 3]))
        logs = torch.zeros(3, 2, 2, dtype=torch.float64)
        logs[1, 0, 0] = -2000.0  # one surprise in the first sequence
        logs = logs.flatten(0, 1)
        found = smoothed(self.chain, logs.exp(), packing)
        assert found.lost.tolist() == [True, False]
        assert found.log_prob.tolist() == [-torch.inf, 0.0]
        assert found.gamma.isfinite().all()
        assert found.transitions.tolist() == [[2.0, 0.0], [0.0, 0.0]]  # those of the other
        exact = log_smoothed(self.chain, logs, packing)
        assert exact.log_prob.tolist() == [-2000.0, 0.0]
        assert exact.gamma[:, 0].tolist() == [1.0] * 6
        assert exact.transitions.tolist() == [[4.0, 0.0], [0.0, 0.0]]

    def test_an_overflow_of_the_backward_recursion_is_told(self):
        packing = Packing.of(torch.tensor([2000]))
        logs = torch.tensor([[-1.0, 0.0]], dtype=torch.float64).repeat(2000, 1)
        found = smoothed(self.chain, logs.exp(), packing)
        exact = log_smoothed(self.chain, logs, packing)
        assert found.lost.tolist() == [True]
        assert found.gamma.isfinite().all()
        assert exact.log_prob.tolist() == [-2000.0]
        assert exact.transitions[0, 0].item() == pytest.approx(1999)

    @pytest.mark.parametrize("length", [None, 50])
    def test_what_only_the_future_brings_back_is_lost_to_the_past(self, length, monkeypatch):
        """A thousand steps say that it is the first world, fifteen hundred that it is the second."""
        packing = Packing.of(torch.tensor([2500]))
        logs = torch.zeros(2500, 2, dtype=torch.float64)
        logs[:1000, 1] = logs[1000:, 0] = -1.0
        chain = Chain(torch.tensor([0.5, 0.5], dtype=torch.float64), torch.eye(2, dtype=torch.float64))
        monkeypatch.setattr(segments, "segment_length", lambda packing, states: length)
        assert segments.filtered(chain, logs.exp(), packing).lost.tolist() == [True]
        assert smoothed(chain, logs.exp(), packing).lost.tolist() == [True]
        assert log_filtered(chain, logs, packing)[0].item() == pytest.approx(-1000 - math.log(2))

    def test_the_impossible_has_probability_zero(self):
        packing = Packing.of(torch.tensor([2, 2]))
        logs = torch.zeros(4, 2, dtype=torch.float64)
        logs[0, 0] = -torch.inf
        exact = log_smoothed(self.chain, logs, packing)
        assert exact.log_prob.tolist() == [-torch.inf, 0.0]
        assert exact.gamma.sum(1).tolist() == [0.0, 1.0, 0.0, 1.0]
