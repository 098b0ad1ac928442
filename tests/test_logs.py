"""Logs: every event arrives, strictly as JSON; a run that goes on tells nothing twice; trouble is told in words."""

import dataclasses
import errno
import json
import math
import os
import re
import shutil
import typing
from pathlib import Path

import pytest
import torch

import pmodel
from pmodel.domain import Discrete
from pmodel.errors import NotSupported, RunError, UnknownName
from pmodel.storage import digest
from pmodel.train import events, logs
from pmodel.train.diagnosis import Diagnosis
from pmodel.train.logs import LOGS, SCHEMA, JsonLines, TensorBoard, open_logs

KINDS = typing.get_args(events.Event)
VERDICT = Diagnosis("posterior collapse", "0 of 8 latents are in use.", "lower beta", fatal=True)
PICTURES = Discrete((1, 2, 2), 2)
RUN = (
    events.Started(2, 0),
    events.Stepped(1, 2, {"fit.loss": 2.5, "fit.kl": math.nan}, 128, 0.5),
    events.Saved(1, 0, 0.6),
    events.Validated(2, 2, -3.5, 0.25, "exact", 100, True, 0.8),
    events.Sampled(1.0, torch.ones(2, 1, 2, 2, dtype=torch.int64)),
    events.Diagnosed(2, VERDICT, 0.9),
    events.Stepped(2, 2, {"fit.loss": 1.5, "fit.kl": math.inf}, 256, 1.0),
    events.Finished("finished", 2, 0, 256, 1.0),
)


def lines(path):
    def refused(name):
        pytest.fail(f"{name} is not JSON")

    return [json.loads(line, parse_constant=refused) for line in path.read_text().splitlines()]


def write(log, told):
    for event in told:
        log.write(event)
    return log


class TestJsonLines:
    def test_every_event_is_a_line_after_the_schema(self, tmp_path):
        write(JsonLines(tmp_path / "log"), RUN).close()
        first, *rest = lines(tmp_path / "log")
        assert first == {"event": "log", "schema": SCHEMA}
        assert [line["event"] for line in rest] == [type(event).__name__.lower() for event in RUN]
        assert rest[1] == {
            "event": "stepped",
            "step": 1,
            "steps": 2,
            "losses": {"fit.loss": 2.5, "fit.kl": None},
            "images": 128,
            "seconds": 0.5,
        }
        assert rest[5]["diagnosis"] == VERDICT.to_json()

    def test_whole_lines_can_be_read_while_the_run_goes_on(self, tmp_path):
        log = JsonLines(tmp_path / "log")
        for count, event in enumerate(RUN, 2):
            log.write(event)
            assert len(lines(tmp_path / "log")) == count
        log.close()

    def test_flush_brings_all_to_the_disk_and_says_how_long_it_is(self, tmp_path, monkeypatch):
        synced = []
        monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
        log = write(JsonLines(tmp_path / "log"), RUN[:2])
        assert log.flush() == (tmp_path / "log").stat().st_size == synced[0]
        log.close()

    def test_a_run_that_goes_on_tells_nothing_twice(self, tmp_path):
        log = write(JsonLines(tmp_path / "log"), RUN[:2])
        position = log.flush()
        write(log, RUN[2:4]).close()  # told after the checkpoint, and then the power failed
        write(JsonLines(tmp_path / "log", position), [events.Resumed(1, 0, 0.5), *RUN[3:]]).close()
        told = [line["event"] for line in lines(tmp_path / "log")]
        assert told[:5] == ["log", "started", "stepped", "resumed", "validated"]
        assert told.count("stepped") == 2

    def test_a_half_written_line_is_cut_off(self, tmp_path):
        log = write(JsonLines(tmp_path / "log"), RUN[:2])
        position = log.flush()
        log.close()
        with (tmp_path / "log").open("a") as file:
            file.write('{"event": "stepp')
        write(JsonLines(tmp_path / "log", position), RUN[6:]).close()
        assert len(lines(tmp_path / "log")) == 5

    @pytest.mark.parametrize("content", [None, b""])
    def test_a_log_that_was_removed_begins_anew(self, tmp_path, content):
        if content is not None:
            (tmp_path / "log").write_bytes(content)
        write(JsonLines(tmp_path / "log", 1000), RUN[:1]).close()
        assert [line["event"] for line in lines(tmp_path / "log")] == ["log", "started"]

    def test_a_new_run_replaces_what_a_lost_one_left(self, tmp_path):
        (tmp_path / "log").write_text("rest\n" * 100)
        write(JsonLines(tmp_path / "log"), RUN[:1]).close()
        assert [line["event"] for line in lines(tmp_path / "log")] == ["log", "started"]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
    def test_a_full_disk_is_a_sentence(self):
        log = JsonLines(Path("/dev/full"))
        with pytest.raises(RunError, match=r"/dev/full cannot be written: No space left(.|\n)*free space"):
            log.write(RUN[0])
        log.close()

    def test_a_disk_that_fills_while_it_is_brought_there_is_a_sentence(self, tmp_path, monkeypatch):
        def full(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        log = JsonLines(tmp_path / "log")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            log.flush()
        log.close()


@pytest.fixture
def board(tmp_path):
    """A TensorBoard log, and what TensorBoard reads from it."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(told):
        write(TensorBoard(tmp_path / "board", PICTURES), told).close()
        return EventAccumulator(str(tmp_path / "board")).Reload()

    return read


def numbers(found, tag):
    return [(scalar.step, scalar.value) for scalar in found.Scalars(tag)]


class TestTensorBoard:
    def test_it_shows_losses_validation_pictures_and_verdicts(self, board):
        found = board(RUN)
        assert numbers(found, "loss/fit.loss") == [(1, 2.5), (2, 1.5)]
        assert numbers(found, "validation/exact") == [(2, -3.5)]
        assert numbers(found, "speed/data per second") == [(1, 256.0), (2, 256.0)]
        assert [picture.step for picture in found.Images("samples")] == [2]
        words = found.Tensors("verdict/posterior collapse/text_summary")[0].tensor_proto.string_val[0].decode()
        assert words == str(VERDICT)

    def test_passes_count_on_from_the_gradient_steps(self, board):
        found = board([*RUN[:2], events.Iterated(1, 9, -7.0, 300, 1.0), events.Iterated(2, 9, -6.0, 400, 1.5)])
        assert numbers(found, "training/log_prob") == [(2, -7.0), (3, -6.0)]

    def test_a_run_that_goes_on_takes_the_place_of_what_came_after_its_checkpoint(self, board):
        board(RUN[:7])
        resumed = [events.Resumed(1, 0, 0.5), events.Stepped(2, 2, {"fit.loss": 1.25}, 256, 1.0)]
        assert numbers(board(resumed), "loss/fit.loss") == [(1, 2.5), (2, 1.25)]

    def test_a_rescue_goes_back(self, board):
        found = board([*RUN[:7], events.Rescued(1, 0.5, "float32", 1.1), events.Stepped(2, 2, {"fit.loss": 1.0}, 9, 2)])
        assert numbers(found, "loss/fit.loss") == [(1, 2.5), (2, 1.0)]

    def test_without_the_package_it_says_how_to_get_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr(logs, "find_spec", lambda name: None)
        with pytest.raises(NotSupported, match=re.escape('pip install "pmodel[tensorboard]"')):
            open_logs(["jsonl", "tensorboard"], tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestOpenLogs:
    def test_none_writes_nothing(self, tmp_path):
        assert open_logs([], tmp_path / "run") == []
        assert not (tmp_path / "run").exists()

    def test_an_unknown_log_is_refused_before_anything_is_written(self, tmp_path):
        with pytest.raises(UnknownName, match="did you mean jsonl"):
            open_logs(["jsonl", "json"], tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_all_logs_take_all_events(self, tmp_path):
        pytest.importorskip("tensorboard")
        for log in open_logs(LOGS, tmp_path, domain=PICTURES):
            write(log, RUN).flush()
            log.close()
        assert (tmp_path / "events.jsonl").exists()
        assert list((tmp_path / "tensorboard").iterdir())


class TestRuns:
    def test_a_run_writes_what_it_is_asked_to(self, board, tmp_path):
        pmodel.fit("mixture", "digits", out=tmp_path / "run", components=2, steps=3, logs=LOGS)
        shutil.move(tmp_path / "run" / "tensorboard", tmp_path / "board")
        found = board([])
        passes = [line for line in lines(tmp_path / "run" / "events.jsonl") if line["event"] == "iterated"]
        assert [value for _, value in numbers(found, "training/log_prob")] == pytest.approx(
            [line["log_prob"] for line in passes], rel=1e-6
        )
        assert [step for step, _ in numbers(found, "training/log_prob")] == [1, 2, 3]
        assert len(found.Images("samples")) == 1

    def test_logs_change_nothing(self, tmp_path):
        pytest.importorskip("tensorboard")
        logged = pmodel.fit("vae", "digits", out=tmp_path / "a", size="tiny", steps=9, logs=LOGS)
        silent = pmodel.fit("vae", "digits", out=tmp_path / "b", size="tiny", steps=9, logs=())
        assert digest(logged) == digest(silent)
        assert not (tmp_path / "b" / "events.jsonl").exists()


DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "events.md").read_text()
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", DOCUMENT, flags=re.M | re.S))


class TestTheDocument:
    def test_it_lists_every_event_and_no_other(self):
        assert list(SECTIONS) == [kind.__name__.lower() for kind in KINDS]

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_it_lists_the_fields_of_each(self, kind):
        documented = re.findall(r"^\| `(\w+)` \|", SECTIONS[kind.__name__.lower()], flags=re.M)
        example = {field.name: 0 for field in dataclasses.fields(kind)}
        assert ["event", *documented] == list(events.to_json(kind(**example)))

    def test_it_says_the_schema(self):
        assert f'"schema": "{SCHEMA}"' in DOCUMENT
