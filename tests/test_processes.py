"""One run over several processes: what each exchange does, and how the others end when one is gone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pmodel.errors import LostProcess, RunError
from pmodel.train.processes import ALONE, joined

PROGRAM = str(Path(__file__).with_name("processes_program.py"))


def torchrun(*words, processes=2, **options):
    """Run a program in several processes: as a user does, with one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, timeout=120, env=environment, **options
    )


def words(done):
    """What pmodel said, apart from what torchrun says of the failure."""
    return done.stderr.split("Error: ", 1)[1].split("torch/distributed", 1)[0]


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """What each of three processes has after every exchange."""
    folder = tmp_path_factory.mktemp("exchanged")
    done = torchrun(PROGRAM, "exchange", folder, processes=3)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


@pytest.mark.parametrize("rank", [0, 1, 2])
class TestExchange:
    def test_two_runs_one_after_the_other_are_two_groups(self, exchanged, rank):
        assert exchanged[rank]["first"] == 0
        assert exchanged[rank]["group"] == [rank, 3, rank == 0]

    def test_a_sum_keeps_shape_type_and_layout(self, exchanged, rank):
        double, channels, whole, empty, transposed, scalar = exchanged[rank]["sums"]
        assert double == [[3 * 2.0**-40 + 3, 3.0]]  # in float64: float32 would lose 2^-40
        assert torch.equal(torch.tensor(channels), 6 * torch.arange(24.0).reshape(1, 2, 3, 4))
        assert exchanged[rank]["layout"]
        assert whole == [3 * 2**40, 3]
        assert empty == []
        assert transposed == [[6.0, 6.0]] * 3
        assert scalar == 1.5

    def test_a_sum_is_rounded_alike_everywhere(self, exchanged, rank):
        assert exchanged[rank]["rounded"] == exchanged[0]["rounded"]

    def test_anyone_can_raise_the_flag(self, exchanged, rank):
        assert exchanged[rank]["any"] == [True, True, False]

    def test_the_value_of_process_0_is_agreed_on(self, exchanged, rank):
        assert exchanged[rank]["agreed"] == {"rank": 0, "x": [0.1, None, "é" * 10]}

    def test_the_bits_of_process_0_are_shared(self, exchanged, rank):
        assert exchanged[rank]["shared"] == ["[True, True]", "[-0.0, -0.0]", "5", "[nan, -inf, 0.0]"]

    def test_nothing_is_left_behind(self, exchanged, rank):
        assert exchanged[rank]["left"] == {"hook": True, "alone": True}


class TestAlone:
    def test_without_torchrun_one_is_alone(self, monkeypatch):
        monkeypatch.delenv("RANK", raising=False)
        with joined("cpu") as processes:
            assert processes is ALONE
        assert (ALONE.rank, ALONE.world, ALONE.leader) == (0, 1, True)

    def test_every_exchange_with_nobody_changes_nothing(self):
        x = torch.tensor([1.5])
        ALONE.sum_([x])
        ALONE.share_([x])
        assert x.item() == 1.5
        assert ALONE.any(True)
        assert not ALONE.any(False)
        assert ALONE.agreed({"a": [1]}) == {"a": [1]}

    def test_a_rank_without_an_address_is_explained(self, monkeypatch):
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(RunError, match="torchrun"), joined("cpu"):
            pass

    def test_processes_that_do_not_come_are_not_waited_for_forever(self, monkeypatch):
        for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": 0}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(LostProcess, match="did not find each other"), joined("cpu", patience=0.5):
            pass


class TestLoss:
    def test_a_killed_process_ends_the_others_within_30_seconds_in_words(self, tmp_path):
        done = torchrun(PROGRAM, "killed", tmp_path)
        assert done.returncode == 1
        assert float((tmp_path / "ended").read_text()) - float((tmp_path / "killed").read_text()) < 30
        assert "Another of the 2 processes of this run is gone" in words(done)
        assert "--resume" in words(done)

    def test_a_process_that_fails_tells_the_others_why(self, tmp_path):
        done = torchrun(PROGRAM, "failing", tmp_path)
        assert done.returncode == 1
        assert (
            "Process 1 of 2 failed, and process 0 cannot go on without it.\n  got:  ValueError: no such thing"
            in done.stderr
        )

    def test_a_process_that_is_silent_is_given_up(self, tmp_path):
        done = torchrun(PROGRAM, "silent", tmp_path)
        assert done.returncode == 1
        assert "does not answer" in words(done)
