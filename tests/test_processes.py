"""One run over several processes: what each exchange does, and how the others end when one is gone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pmodel
from pmodel.cli import main
from pmodel.errors import BadInput, LostProcess, RunError
from pmodel.storage import CHECKPOINT, digest
from pmodel.train import plan
from pmodel.train.loop import Training
from pmodel.train.preparation import batches_of
from pmodel.train.processes import ALONE, Processes, joined, launcher
from processes_program import COURSE, FITS, pair

PROGRAM = str(Path(__file__).with_name("processes_program.py"))


def started(*words, processes=2, restarts=0):
    """A program in several processes: started as a user does, with one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [f"--max-restarts={restarts}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def ended(program):
    """The exit code and what was said, once a program has ended."""
    with program:
        try:
            stdout, stderr = program.communicate(timeout=120)
        finally:
            program.terminate()
    return subprocess.CompletedProcess(program.args, program.returncode, stdout, stderr)


def torchrun(*words, **how):
    return ended(started(*words, **how))


@pytest.fixture
def one_thread():
    """The arithmetic of each process that torchrun starts here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
        assert "process 1 cannot go on without it" in words(done)
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


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Runs of two processes, and the hash that each process has of its models."""
    folder = tmp_path_factory.mktemp("fitted")
    done = torchrun(PROGRAM, "fits", folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def distance(a, b):
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a if a[name].numel())


def alone(case, shards):
    """What two processes fit, in this one."""
    if case == "pair":
        return pair(ALONE, shards).state_dict()
    name, given = FITS[case]
    return pmodel.fit(name, **given, shards=shards).state_dict()


@pytest.mark.usefixtures("one_thread")
class TestTwoAreOne:
    @pytest.mark.parametrize("case", [*FITS, "pair"])
    def test_all_processes_have_the_same_bits(self, fitted, case):
        assert fitted[1][0][case] == fitted[1][1][case]

    def test_no_thread_outlives_the_group(self, fitted):
        assert [found["threads"] for found in fitted[1]] == [[], []]  # it could abort the process at its end

    @pytest.mark.parametrize("case", ["categories", "covariances", "chains"])
    @pytest.mark.parametrize("shards", [1, 2])
    def test_expectation_maximisation_is_the_same_to_1e_10(self, fitted, case, shards):
        assert distance(pmodel.load(fitted[0] / case).state_dict(), alone(case, shards)) < 1e-10

    @pytest.mark.parametrize("case", ["one phase", "two phases", "pair"])
    def test_descent_is_that_of_one_process_with_two_shards_to_1e_6(self, fitted, case):
        path = fitted[0] / "pair.safetensors" if case == "pair" else fitted[0] / case / "model.safetensors"
        two = load_file(path)
        assert distance(two, alone(case, shards=2)) < 1e-6
        assert distance(two, alone(case, shards=1)) > 1e-4  # other noise: the comparison can tell

    def test_every_process_has_its_part_of_small_data(self):
        data = pmodel.load_data("dice")
        course = plan(pmodel.make("histogram", data.domain), data, shards=3)
        batches = batches_of(data, course, conditional=False)
        blocks = [block.x for rank in range(3) for _, block in batches.blocks(rank, 3)]
        assert len(blocks) == 3
        assert torch.equal(torch.cat(blocks), data.train.x)

    def test_shards_that_cannot_be_shared_out_equally_are_refused(self):
        data = pmodel.load_data("dice")
        model = pmodel.make("histogram", data.domain)
        two = Processes()
        two.world = 2
        with pytest.raises(BadInput, match="3 shards, which 2 processes"):
            Training(model, data, plan(model, data, shards=3), two)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the words of a run of the command line in two processes that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, torchrun("-m", "pmodel", *COURSE, folder)


class TestCommandLine:
    def test_only_process_0_writes_and_speaks(self, whole):
        folder, done = whole
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("finished after 80 steps") == 1
        assert done.stderr.count(f"run: {folder}") == 1
        lines = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
        assert lines.count("stepped") == 80
        assert lines.count("finished") == 1
        assert not (folder / CHECKPOINT.parent).exists()

    def test_a_killed_process_ends_the_run_which_resumes_to_the_same_bits(self, whole, tmp_path):
        folder = tmp_path / "run"
        done = torchrun(PROGRAM, "deserted", folder)
        assert done.returncode == 1
        assert "Another of the 2 processes of this run is gone" in words(done)
        assert "--resume" in words(done)
        assert (folder / CHECKPOINT).exists()
        done = torchrun("-m", "pmodel", *COURSE, folder, "--resume")
        assert done.returncode == 0, done.stderr
        assert digest(pmodel.load(folder)) == digest(pmodel.load(whole[0]))

    @pytest.mark.slow
    def test_torchrun_starts_a_run_again_that_lost_a_process(self, whole, tmp_path):
        folder = tmp_path / "run"
        done = torchrun(PROGRAM, "deserted", folder, restarts=1)
        assert done.returncode == 0, done.stderr
        assert "Another of the 2 processes of this run is gone" in done.stderr
        assert digest(pmodel.load(folder)) == digest(pmodel.load(whole[0]))

    @pytest.mark.usefixtures("one_thread")
    @pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
    def test_a_stopped_run_resumes_to_the_same_bits(self, whole, tmp_path, number):
        folder = tmp_path / "run"
        program = started("-m", "pmodel", *COURSE, folder)
        while not (folder / CHECKPOINT).exists() and program.poll() is None:
            time.sleep(0.01)
        program.send_signal(number)
        done = ended(program)
        assert done.returncode == 1
        assert done.stderr.count(f"Stopped by {number.name} after step") == 1
        assert "everything is saved" in done.stderr
        assert "go on with: torchrun --standalone --nproc-per-node 2 -m pmodel fit vae" in done.stderr
        words = COURSE[COURSE.index("--data") : -1]
        with pytest.raises(SystemExit) as end:  # one process does the work of two shards
            main(["fit", "vae", *words, "--out", str(folder), "--resume"])
        assert end.value.code == 0
        assert digest(pmodel.load(folder)) == digest(pmodel.load(whole[0]))

    def test_what_process_0_refuses_ends_all(self, whole):
        done = torchrun("-m", "pmodel", *COURSE, whole[0])
        assert done.returncode == 1
        assert f"Error: {whole[0]} holds a run already." in done.stderr
        assert done.stderr.count("Error: ") == 1 + done.stderr.count("ChildFailedError: ")  # the others are silent

    def test_nothing_else_runs_over_several_processes(self, monkeypatch, capsys):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(SystemExit) as end:
            main(["models"])
        assert end.value.code == 2
        assert "Only fit runs over several processes" in capsys.readouterr().err

    def test_wrong_usage_ends_all_with_its_code(self, tmp_path):
        done = torchrun("-m", "pmodel", *COURSE, tmp_path / "run", "--set", "layers=many")
        assert done.returncode == 1  # torchrun's own: it tells that of the process
        assert "exitcode  : 2" in done.stderr
        assert "layers" in words(done)


@pytest.mark.parametrize(
    ("environment", "before"),
    [
        ({}, ""),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, ""),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "torchrun --standalone --nproc-per-node 2 -m "),
        ({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, "torchrun … -m "),
    ],
)
def test_the_command_to_go_on_starts_as_many_processes(monkeypatch, environment, before):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launcher() == before
