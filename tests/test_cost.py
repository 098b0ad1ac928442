"""What sampling costs: memory that is taken and given back within the block is seen."""

import gc

import pytest
import torch

from pmodel.evaluation import cost
from pmodel.evaluation.cost import memory_watched

MIB = 2**20


def peak(block, before=lambda: None):
    """The highest of three: the system may drop pages of files meanwhile, so that one is at most what the block takes."""
    found = []
    for _ in range(3):
        before()
        with memory_watched(torch.device("cpu")) as memory:
            block()
        found.append(memory.peak)
    return max(found)


def taking():
    torch.ones(64 * MIB // 4).sum()


@pytest.mark.skipif(not cost.RESET.exists(), reason="the peak can be reset on Linux only")
def test_the_peak_is_what_the_block_takes():
    before = torch.ones(100 * MIB // 4)  # in use before: not the block's
    assert 60 * MIB < peak(taking) < 90 * MIB
    assert len(before)


@pytest.mark.skipif(not cost.RESET.exists(), reason="the peak can be reset on Linux only")
def test_garbage_from_before_is_nothing_that_the_block_takes_or_gives_back():
    """What points at itself is freed only when Python looks for such, which may be in the middle of the block."""

    def littered():
        garbage = [torch.ones(100 * MIB // 4)]
        garbage.append(garbage)

    def collecting():
        gc.collect()
        taking()

    assert 60 * MIB < peak(collecting, before=littered) < 90 * MIB


@pytest.mark.skipif(not cost.RESET.exists(), reason="the peak can be reset on Linux only")
def test_a_block_that_takes_nothing_has_no_peak_of_others():
    torch.ones(64 * MIB // 4).sum()  # a higher peak, before
    with memory_watched(torch.device("cpu")) as memory:
        pass
    assert memory.peak < 2 * MIB


def test_where_the_peak_cannot_be_reset_only_a_new_record_is_seen(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "RESET", tmp_path / "none" / "such")
    with memory_watched(torch.device("cpu")) as memory:
        pass
    assert memory.peak is None
    top = cost._highest()
    with memory_watched(torch.device("cpu")) as memory:
        torch.ones((top + 64 * MIB) // 4).sum()
    assert memory.peak > 32 * MIB
