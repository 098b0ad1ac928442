"""The command line: what other programs rely on, what people see, and what each option does."""

import csv
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from rich.console import Console

import pmodel
from pmodel import catalogue
from pmodel.cli import app as table
from pmodel.cli import console as consoles
from pmodel.cli import main
from pmodel.cli.console import duration_words, plain
from pmodel.cli.fitting import free_folder
from pmodel.cli.progress import Progress
from pmodel.errors import BadInput, UnknownName
from pmodel.settings import parse_duration, parse_settings, parse_value, spelt, spelt_settings, typed
from pmodel.storage import digest
from pmodel.train import Finished, Started, Stepped

TABLE = "\n".join(["height,mass,colour", *(f"{1.5 + k / 64},{k / 8},{'red' if k % 3 else 'blue'}" for k in range(60))])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of reals, of images, of images with a label, and of a table."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "table.csv").write_text(TABLE)
    pmodel.fit("gaussian", "heights", out=folder / "plane")
    pmodel.fit("mixture", "digits", out=folder / "image", components=2)
    pmodel.fit("histogram", "digits", out=folder / "labelled", conditional=True)
    pmodel.fit("gaussian", str(folder / "table.csv"), out=folder / "table")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PMODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def call(here, trained, capsys):
    """Run a command with RUNS/ standing for the folder of runs: exit code, stdout and stderr."""

    def run(words):
        with pytest.raises(SystemExit) as ended:
            main([word.replace("RUNS", str(trained)) for word in shlex.split(words)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 60 columns in the place of stderr."""
    console = Console(file=io.StringIO(), force_terminal=True, width=60, markup=False, color_system="truecolor")
    for module in ("console", "progress", "showing", "checking", "comparing"):
        monkeypatch.setattr(f"pmodel.cli.{module}.console", lambda: console)
    return console


SPEAKING = [
    "models",
    "models mixture",
    "data",
    "score RUNS/plane",
    "evaluate RUNS/plane -n 100",
    "compare gaussian mixture:components=2 --data heights --steps 3 --out c",
]


class TestWhatProgramsReadAndWhatPeopleRead:
    @pytest.mark.parametrize("words", [*SPEAKING, "check uniform"])
    def test_json_is_one_value_on_stdout(self, call, words):
        code, out, _ = call(f"{words} --json")
        assert code == 0
        json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    @pytest.mark.parametrize("words", [*SPEAKING, "show RUNS/plane", "fit gaussian --data heights"])
    def test_people_are_told_on_stderr(self, call, words):
        code, out, err = call(words)
        assert code == 0
        assert out == ""
        assert err.strip()

    def test_models_are_the_rows_of_the_catalogue(self, call):
        _, out, _ = call("models --json")
        rows = json.loads(out)
        assert [row["name"] for row in rows] == [row.name for row in catalogue.models()]
        assert all(
            {"family", "density", "capabilities", "domains", "year", "paper", "line"} <= set(row) for row in rows
        )
        assert {row["density"] for row in rows} <= {"exact", "lower_bound", "estimate", "none"}

    def test_options_of_a_model_are_its_signature_with_its_docs(self, call):
        _, out, _ = call("models mixture --json")
        options = {option["name"]: option for option in json.loads(out)["options"]}
        assert options["components"]["default"] == 10
        assert options["components"]["type"] == "int"
        assert all(option["doc"] for option in options.values())

    def test_types_of_options_are_said_in_words(self, call):
        _, _, err = call("models mixture")
        assert "auto or full or tied" in err
        assert "a whole number" in err

    def test_options_of_the_wrappers_around_a_model_stand_with_its_own(self, call):
        _, out, _ = call("models maf --json")
        found = json.loads(out)["options"]
        noise = next(option for option in found if option["name"] == "dequantisation")
        assert (noise["wrapper"], noise["default"]) == ("Dequantised", "uniform")
        assert "learned together with the model" in noise["doc"]
        assert {option["wrapper"] for option in found} == {
            None,
            "Dequantised",
        }  # a flow's density rests on its own prior
        assert "uniform or variational" in call("models maf")[2]
        assert "dequantisation" not in call("models pixelcnn")[2]

    def test_every_option_of_every_model_can_be_shown(self, call):
        for row in catalogue.models():
            code, _, err = call(f"models {row.name}")
            assert code == 0, err

    def test_data_say_where_they_are(self, call):
        _, out, _ = call("data --json")
        rows = {row["name"]: row for row in json.loads(out)["datasets"]}
        assert rows["digits"]["domain"] == {"kind": "discrete", "shape": [1, 8, 8], "levels": 17}
        assert rows["digits"]["sizes"] == {"train": 1437, "valid": 180, "test": 180}
        assert rows["digits"]["offline"] is True

    def test_a_score_is_the_likelihood_of_the_test_data(self, call, trained):
        _, out, _ = call("score RUNS/image --json")
        found = json.loads(out)
        expected = pmodel.load(trained / "image").score(pmodel.load_data("digits").test.x)
        assert set(found) == {"value", "kind", "unit", "stderr", "n", "measure", "estimator", "impossible"}
        assert found["value"] == pytest.approx(expected.mean, rel=1e-12)
        assert found["kind"] == "exact"
        assert found["measure"]["data"] == pmodel.load_data("digits").hash
        assert (found["n"], found["unit"], found["impossible"]) == (180, "nats", 0)

    def test_what_is_impossible_is_null(self, call):
        call("fit histogram --data digits --set joint=false --set smoothing=0 --out strict")
        _, out, _ = call("score strict --json")
        found = json.loads(out)
        assert found["value"] is None
        assert found["impossible"] > 0

    def test_another_split_is_another_measure(self, call):
        _, out, _ = call("score RUNS/image --split valid --json")
        assert json.loads(out)["measure"]["split"] == "valid"

    def test_words_give_nats_and_bits(self, call):
        _, _, err = call("score RUNS/image")
        assert "nats per datum" in err
        assert "bits/dim (exact, n = 180)" in err

    def test_a_comparison_leaves_its_report(self, call, here):
        _, out, _ = call("compare gaussian mixture:components=2 --data heights --steps 3 --out c --json")
        assert json.loads(out) == json.loads((here / "c/report.json").read_text())
        assert [row["label"] for row in json.loads(out)["models"]] == ["gaussian", "mixture:components=2"]
        assert (here / "c/report.html").stat().st_size > 1000

    def test_how_to_read_data_is_said_once_for_all_models(self, call, here):
        (here / "table.csv").write_text(TABLE)
        words = (
            "compare gaussian uniform --data table.csv --set data.columns.colour=drop --steps 3 -n 50 --out c --json"
        )
        _, out, _ = call(words)
        assert len(json.loads(out)["data"]["domain"]["columns"]) == 2

    def test_a_model_that_fails_is_a_row_and_an_exit_code(self, call, here):
        code, _, err = call("compare gaussian dcgan --data heights --steps 3 --out c")
        assert code == 1
        assert "1 of 2 models failed" in err
        assert (here / "c/report.html").exists()

    def test_a_broken_law_is_an_exit_code(self, call, monkeypatch):
        from pmodel import testing

        broken = testing.Result("sums_to_one", "bits", "It sums to one.", False, "The sum is 1.2.", 0.1)
        monkeypatch.setattr(testing, "run_conformance", lambda model, **_: [broken])
        code, _, err = call("check uniform")
        assert code == 1
        assert "BROKEN" in err
        assert "The sum is 1.2." in err
        assert "Internal error" not in err


class TestFailures:
    def test_no_traceback_unless_asked(self, call):
        code, _, err = call("models vaee")
        assert code == 2
        assert err.startswith("Error: There is no model of that name.\n  got:  vaee\n  hint: did you mean vae or dvae?")

    @pytest.mark.parametrize("words", ["--traceback models vaee", "models --traceback vaee", "models vaee --traceback"])
    def test_the_traceback_option_stands_anywhere(self, call, words):
        code, _, err = call(words)
        assert code == 2
        assert err.startswith("Traceback (most recent call last):")
        assert "Error: There is no model of that name." in err

    def test_a_fault_of_pmodel_is_one_line_and_says_how_to_see_more(self, call, monkeypatch):
        monkeypatch.setattr(catalogue, "models", lambda: 1 / 0)
        code, out, err = call("models --json")
        assert (code, out) == (1, "")
        assert err.splitlines()[0] == "Internal error: ZeroDivisionError: division by zero"
        assert "--traceback" in err

    def test_an_interruption_is_a_sentence(self, call, monkeypatch):
        def interrupt():
            raise KeyboardInterrupt

        monkeypatch.setattr(catalogue, "models", interrupt)
        assert call("models") == (130, "", "Interrupted: the work was not finished.\n")

    def test_memory_is_a_sentence(self, call, monkeypatch):
        def exhaust():
            raise MemoryError

        monkeypatch.setattr(catalogue, "models", exhaust)
        code, _, err = call("models")
        assert code == 1
        assert "not enough memory" in err

    def test_control_characters_are_written_out(self):
        assert plain("a\x1b]0;title\x07\u202eb\nc") == "a\\x1b]0;title\\x07\\u202eb\nc"


class TestFit:
    def test_the_folder_is_named_after_model_and_data(self, call, here):
        for _ in range(3):
            call("fit gaussian --data heights")
        assert sorted(path.name for path in (here / "runs").iterdir()) == [
            "gaussian-heights",
            "gaussian-heights-2",
            "gaussian-heights-3",
        ]

    @pytest.mark.parametrize(
        ("name", "folder"),
        [("vae-mnist:3,8", "vae-mnist-3-8"), ("vae-../x", "vae-..-x"), ("..", ""), ("a b\0c", "a-b-c")],
    )
    def test_no_name_leads_out_of_the_folder(self, here, name, folder):
        assert free_folder(Path("runs"), name).parts[1:] == ((folder,) if folder else ())

    def test_options_and_settings_arrive(self, call, here):
        call("fit mixture --data heights --set components=3 --set covariance=diagonal --set train.iterations=2 --out r")
        record = json.loads((here / "r/run.json").read_text())
        assert record["options"] == {"components": 3, "covariance": "diagonal"}
        assert record["plan"]["recipe"]["iterations"] == 2
        assert record["plan"]["iterations"] == 2

    def test_seed_and_steps_arrive(self, call, here):
        call("fit mixture --data heights --seed 5 --steps 3 --out r")
        record = json.loads((here / "r/run.json").read_text())
        assert (record["seed"], record["plan"]["iterations"]) == (5, 3)

    def test_a_budget_arrives_in_seconds(self, call, here):
        call("fit gaussian --data heights --budget 0.5m --out r")
        assert json.loads((here / "r/run.json").read_text())["plan"]["budget"] == 30.0

    def test_conditional_arrives(self, call, here):
        call("fit gaussian --data digits:0,1 --set conditional=true --out r")
        assert pmodel.load(here / "r").given == pmodel.Discrete((), 2)

    def test_how_to_read_data_arrives_and_is_remembered(self, call, here):
        (here / "table.csv").write_text(TABLE)
        call("fit gaussian --data table.csv --set data.label=colour --set data.columns.mass=drop --out r")
        assert [column.name for column in pmodel.load(here / "r").domain.columns] == ["height"]
        code, _, err = call("score r")
        assert code == 0, err

    def test_precautions_and_logs_arrive(self, call, here):
        call("fit mixture --data heights --steps 3 --shards 2 --log none --save-every 5m --out r")
        assert json.loads((here / "r/run.json").read_text())["plan"]["shards"] == 2
        assert sorted(path.name for path in (here / "r").iterdir()) == ["model.safetensors", "run.json"]

    def test_a_run_starts_from_the_weights_of_another(self, call, here, trained):
        code, _, err = call("fit mixture --data digits --set components=2 --steps 1 --from RUNS/image --out r")
        assert code == 0, err
        assert json.loads((here / "r/run.json").read_text())["from"]["run"] == str(trained / "image")

    def test_a_model_of_no_use_is_an_exit_code_with_a_remedy(self, call, here):
        code, _, err = call("fit vae --data digits --size tiny --set beta=10000 --steps 150 --out r")
        assert code == 1
        assert "posterior collapse" in err
        assert "remedy: " in err
        assert "run: r" in err
        assert "posterior collapse" in call("show r")[2]

    def test_without_what_it_was_fitted_to_a_run_can_be_scored_on_named_data(self, call, here):
        pmodel.save(pmodel.fit("gaussian", "heights"), here / "bare")
        assert call("score bare")[0] == 1
        assert call("score bare --data heights")[0] == 0


STEPS = 40


@pytest.fixture
def stopping(monkeypatch):
    """Send a signal to this process after a few reports of the run, as Ctrl-C does."""
    heard = []

    def show(self, event):
        heard.append(event)
        if isinstance(event, Stepped) and event.step == STEPS // 2:
            os.kill(os.getpid(), stopping.signal)

    def stopping(number):
        stopping.signal = number
        monkeypatch.setattr(Progress, "show", show)
        return heard

    return stopping


class TestGoingOn:
    FIT = f"fit vae --data digits --size tiny --steps {STEPS}"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_stopped_run_says_how_to_go_on_and_does(self, call, stopping, monkeypatch, here, number):
        heard = stopping(number)
        code, out, err = call(f"{self.FIT} --out r")
        assert (code, out) == (130, "")
        assert f"Stopped by {number.name} after step {STEPS // 2} of {STEPS}; everything is saved." in err
        assert heard[-1].step == STEPS // 2
        assert f"saved at step {STEPS // 2} of {STEPS}" in call("show r")[2]
        monkeypatch.undo()
        monkeypatch.chdir(here)
        command = err.partition("go on with: ")[2].strip()
        assert command == "pmodel fit vae --data digits --out r --resume"
        assert command in call("show r")[2]
        code, _, err = call(command.removeprefix("pmodel "))
        assert code == 0, err
        call(f"{self.FIT} --out whole")
        assert digest(pmodel.load("r")) == digest(pmodel.load("whole"))

    def test_the_last_run_of_that_name_goes_on(self, call, stopping, monkeypatch, here):
        call(f"{self.FIT}")
        stopping(signal.SIGINT)
        assert call(f"{self.FIT}")[0] == 130
        monkeypatch.undo()
        monkeypatch.chdir(here)
        assert call(f"{self.FIT} --resume")[2].endswith("run: runs/vae-digits-2\n")
        assert json.loads((here / "runs/vae-digits-2/run.json").read_text())["status"] == "finished"

    def test_a_finished_run_stays_as_it_is(self, call, here, trained):
        shutil.copytree(trained / "image", here / "r")
        before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
        code, _, err = call("fit mixture --data digits --out r --resume")
        assert code == 0
        assert "run: r" in err
        assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


class TestShow:
    @pytest.mark.parametrize(
        "changes",
        [
            {"health": 3},
            {"health": [3, {"name": ["x"]}]},
            {"validation": [], "result": 3},
            {"validation": {"value": 1.0, "kind": "\x1b[2J"}, "result": {"seconds": 1.0, "rescues": "many"}},
            {"from": "x", "plan": {"seed": {}}},
        ],
    )
    def test_a_record_that_somebody_has_written_is_shown_as_it_is(self, call, here, trained, changes):
        shutil.copytree(trained / "plane", here / "r")
        record = json.loads((here / "r/run.json").read_text())
        (here / "r/run.json").write_text(json.dumps(record | changes))
        code, _, err = call("show r")
        assert code == 0, err
        assert "\x1b" not in err

    def test_a_distance_is_no_likelihood(self, call, here, trained):
        shutil.copytree(trained / "plane", here / "r")
        record = json.loads((here / "r/run.json").read_text())
        found = {"value": 0.0123, "kind": "distance", "step": 7}
        (here / "r/run.json").write_text(json.dumps(record | {"validation": found}))
        _, _, err = call("show r")
        assert "0.0123 energy distance of samples, at step 7" in " ".join(err.split())
        assert "nats" not in err


class TestReplay:
    def test_the_same_bits_are_said_to_be(self, call):
        code, _, err = call("replay RUNS/image")
        assert code == 0
        assert "bit for bit" in err
        code, out, _ = call("replay RUNS/image --json")
        found = json.loads(out)
        assert (code, found["same"], found["differences"]) == (0, True, [])
        assert found["hash"] == found["recorded"]

    def test_other_bits_are_an_exit_code_with_what_has_changed(self, call, here, trained):
        shutil.copytree(trained / "plane", here / "r")
        record = json.loads((here / "r/run.json").read_text())
        record["result"]["sha256"] = "0" * 64
        record["versions"]["torch"] = "1.0"
        (here / "r/run.json").write_text(json.dumps(record))
        code, _, err = call("replay r")
        assert code == 1
        assert f"torch 1.0 then, {torch.__version__} now" in err
        assert "Internal error" not in err
        code, out, _ = call("replay r --json")
        assert (code, json.loads(out)["same"]) == (1, False)

    def test_data_that_have_moved_are_named(self, call, here):
        (here / "table.csv").write_text(TABLE)
        call("fit gaussian --data table.csv --out r")
        (here / "table.csv").rename(here / "moved.csv")
        assert call("replay r")[0] == 1
        assert call("replay r --data moved.csv")[0] == 0


class TestSample:
    def test_the_same_seed_gives_the_same_bytes(self, call, here):
        for name, seed in (("a", 3), ("b", 3), ("c", 4)):
            call(f"sample RUNS/image -n 5 --seed {seed} --out {name}.npz")
        first, same, other = ((here / f"{name}.npz").read_bytes() for name in "abc")
        assert first == same != other

    def test_a_picture_is_a_grid(self, call, here):
        call("sample RUNS/image -n 9 --out s.png")
        with Image.open(here / "s.png") as image:
            assert image.size == (3 * 9 + 1, 3 * 9 + 1)

    def test_a_sampler_without_steps_says_so(self, call):
        code, _, err = call("sample RUNS/image -n 2 --steps 5 --out s.npz")
        assert (code, "in one way only" in err) == (1, True)
        code, _, err = call("sample RUNS/image -n 2 --steps 5 --set steps=4 --out s.npz")
        assert (code, "twice" in err) == (2, True)

    def test_an_array_holds_what_was_sampled(self, call, here, trained):
        call("sample RUNS/image -n 7 --seed 2 --out s.npz")
        with np.load(here / "s.npz") as arrays:
            assert arrays.files == ["x"]
            assert arrays["x"].dtype == np.uint8
            expected = pmodel.load(trained / "image").sample(7, generator=2)
            assert np.array_equal(arrays["x"], expected.numpy())

    def test_an_array_is_data_again(self, call, here):
        call("sample RUNS/labelled -n 200 --label 3 --out s.npz")
        assert pmodel.load_data("s.npz").domain.shape == (1, 8, 8)

    def test_a_label_is_obeyed_and_written(self, call, here, trained):
        call("sample RUNS/labelled -n 6 --label 3 --seed 1 --out s.npz")
        with np.load(here / "s.npz") as arrays:
            assert arrays["y"].tolist() == [3] * 6
            expected = pmodel.load(trained / "labelled").sample(6, given=3, generator=1)
            assert np.array_equal(arrays["x"], expected.numpy())

    def test_a_label_can_be_named(self, call, here):
        (here / "table.csv").write_text(TABLE)
        call("fit gaussian --data table.csv --set data.label=colour --set conditional=true --out r")
        names = json.loads((here / "r/run.json").read_text())["data"]["labels"]
        call("sample r -n 3 --seed 1 --label red --out named.npz")
        call(f"sample r -n 3 --seed 1 --label {names.index('red')} --out numbered.npz")
        assert (here / "named.npz").read_bytes() == (here / "numbered.npz").read_bytes()
        code, _, err = call("sample r -n 3 --label rod --out other.npz")
        assert (code, "did you mean red" in err) == (2, True)

    def test_rows_have_the_names_of_the_columns_and_categories(self, call, here):
        call("sample RUNS/table -n 20 --out s.csv")
        rows = list(csv.DictReader((here / "s.csv").read_text().splitlines()))
        assert list(rows[0]) == ["height", "mass", "colour"]
        assert {row["colour"] for row in rows} <= {"red", "blue"}
        assert len(rows) == 20
        assert len({float(row["height"]) for row in rows}) > 10

    def test_rows_of_reals_keep_every_digit(self, call, here, trained):
        call("sample RUNS/plane -n 4 --seed 9 --out s.csv")
        rows = list(csv.reader((here / "s.csv").read_text().splitlines()))
        assert rows[0] == ["x0", "x1"]
        expected = pmodel.load(trained / "plane").sample(4, generator=9)
        assert torch.equal(torch.tensor([[float(cell) for cell in row] for row in rows[1:]]), expected.float())

    def test_a_folder_holds_one_picture_each(self, call, here):
        call("sample RUNS/image -n 11 --out pictures")
        assert [path.name for path in sorted((here / "pictures").iterdir())] == [f"{k:02d}.png" for k in range(11)]
        assert pmodel.load_data("pictures").domain.shape == (1, 8, 8)


class TestTerminal:
    def test_a_run_shows_itself(self, call):
        _, _, err = call("show RUNS/image")
        for words in ("mixture components=2", "digits, 1437", "sample", "seed 0"):
            assert words in err
        assert "▀" not in err

    def test_a_terminal_shows_samples(self, call, terminal):
        call("show RUNS/image")
        assert "▀" in terminal.file.getvalue()

    def test_the_view_of_a_run_is_there_while_it_trains(self, terminal):
        with Progress("vae on digits") as progress:
            progress.show(Started(10, 0))
            progress.show(Stepped(5, 10, {"fit.kl": 1.25}, 640, 2.0))
            progress.show(Finished("finished", 10, 0, 1280, 4.0))
        assert "vae on digits" in terminal.file.getvalue()

    @pytest.mark.parametrize(
        "settings", [{"force_terminal": False}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}]
    )
    def test_it_is_there_on_a_terminal_only(self, monkeypatch, settings):
        console = Console(file=io.StringIO(), **settings)
        monkeypatch.setattr("pmodel.cli.progress.console", lambda: console)
        with Progress("vae on digits") as progress:
            progress.show(Stepped(5, 10, {"fit.kl": 1.25}, 640, 2.0))
        assert console.file.getvalue() == ""

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0.44, "0.4 s"), (38.2, "38 s"), (125, "2 min 05 s"), (5400, "1 h 30 min")]
    )
    def test_durations_are_said_as_people_do(self, seconds, words):
        assert duration_words(seconds) == words

    def test_tables_take_markup_as_text(self, capsys):
        consoles.show_table(("name",), [("[red]x[/red] :smile:",)])
        assert "[red]x[/red] :smile:" in capsys.readouterr().err


FIXED = """
pmodel models --json
pmodel data --json
pmodel fit vae --data digits --out r --budget 2m --size tiny --seed 0 --set latent=2 --device auto --precision auto
pmodel fit vae --data digits --steps 10
pmodel sample r -n 64 --seed 0 --label 3 --out s.png
pmodel sample r -n 64 --steps 50 --set eta=1 --out s.npz
pmodel score r --data digits --split test --device cpu --json
pmodel evaluate r --data digits -n 100 --device auto --json
pmodel compare vae mixture:components=20 vae:latent=2,beta=4 --data digits --budget 1m --seeds 1 --out c
pmodel show r
pmodel replay r --json
pmodel check vae
pmodel fit vae --data digits --out r --resume --save-every 10m --log jsonl --log tensorboard --shards 2
pmodel fit vae --data digits --from r --log none
"""


def parsed(words):
    """Read a command line without running it."""
    command, *rest = shlex.split(words)[1:]
    return typer.main.get_command(table.application()).commands[command].make_context(command, rest)


class TestTheWordsOfTheCommandLine:
    @pytest.mark.parametrize("words", FIXED.strip().splitlines())
    def test_what_other_programs_call_is_understood(self, words):
        assert parsed(words).params

    @pytest.mark.parametrize("words", [line for *_, examples in table.COMMANDS for line in examples])
    def test_examples_of_the_help_are_understood(self, words):
        assert parsed(words).command.name == words.split()[1]

    @pytest.mark.parametrize("name", [name for name, *_ in table.COMMANDS])
    def test_help_says_what_it_does_with_an_example(self, call, name):
        code, out, _ = call(f"{name} --help")
        assert code == 0
        assert f"pmodel {name}" in out.partition("Examples:")[2]

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("4", 4),
            ("-1", -1),
            ("0.5", 0.5),
            (".5", 0.5),
            ("1e-3", 1e-3),
            ("true", True),
            ("false", False),
            ("null", None),
            ("full", "full"),
            ("nan", "nan"),
            ("1.2.3", "1.2.3"),
            ('"4"', "4"),
            ("'a, b'", "a, b"),
            ("8,16", [8, 16]),
            ("8,", [8]),
            ("0.5, 0.9", [0.5, 0.9]),
            ("a,'b,c',null", ["a", "b,c", None]),
        ],
    )
    def test_values(self, text, value):
        found = parse_value(text)
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        "value", [4, -0.5, True, None, "full", "4", "true", "a, b", "é", [8, 16], [8], ["a", "b,c"]]
    )
    def test_values_are_spelt_as_they_are_read(self, value):
        assert parse_value(spelt(value)) == value

    def test_settings_are_spelt_as_they_are_read(self):
        words = spelt_settings({"size": 32, "columns": {"age": "drop"}, "only": [3, 8]}, "data.")
        assert words[0::2] == ["--set"] * 3
        assert parse_settings(words[1::2], data=True).data == {"size": 32, "columns": {"age": "drop"}, "only": [3, 8]}

    @pytest.mark.parametrize(
        "text", ["", ",", "1,,2", "[1]", "a(b)", "'open", "a=b", "x\ny", "\\x", "1e999", "{}", "'a'b"]
    )
    def test_what_is_no_value_is_refused(self, text):
        with pytest.raises(BadInput):
            parse_value(text)

    @pytest.mark.parametrize(
        ("text", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("1.5h", 5400), ("0.5", 0.5), (" 3 m ", 180)]
    )
    def test_durations(self, text, seconds):
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1e3", "inf", "nan", "2 days", "m", "1m30s", "１m"])
    def test_what_is_no_duration_is_refused(self, text):
        with pytest.raises(BadInput, match="90, 90s, 2m"):
            parse_duration(text)

    def test_settings_go_where_they_belong(self):
        settings = parse_settings(
            ["layers=4", "train.batch=64", "data.size=32", "data.columns.age=drop", "conditional=true"], data=True
        )
        assert settings.options == {"layers": 4}
        assert settings.train == {"batch": 64}
        assert settings.data == {"size": 32, "columns": {"age": "drop"}}
        assert settings.conditional is True

    @pytest.mark.parametrize(
        ("hint", "value", "result"),
        [
            (float, 4, 4.0),
            (float | None, None, None),
            (float | None, 2, 2.0),
            (tuple[int, ...], 8, [8]),
            (tuple[int, ...], [8, 16], [8, 16]),
            (tuple[float, float], [0, 1], [0.0, 1.0]),
            (Literal["full", "tied"], "tied", "tied"),
            (Literal[1, 2], 2, 2),
        ],
    )
    def test_values_become_what_the_signature_declares(self, hint, value, result):
        found = typed("vae", {"option": value}, {"option": hint})["option"]
        assert found == result
        assert type(found) is type(result)

    @pytest.mark.parametrize(
        ("hint", "value", "words"),
        [
            (int, 2.5, "a whole number"),
            (int, True, "a whole number"),
            (bool, 1, "true or false"),
            (str, 4, "a word"),
            (float | None, "x", "a number or null"),
            (tuple[int, ...], [1, "x"], "a list of whole numbers"),
            (tuple[float, float], [1.0], "a list of numbers"),
            (Literal["full", "tied"], "ful", "full or tied"),
            (Literal[1, 2], True, "1 or 2"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, hint, value, words):
        with pytest.raises(BadInput, match=words):
            typed("vae", {"option": value}, {"option": hint})

    def test_an_unknown_option_names_the_nearest(self):
        with pytest.raises(UnknownName, match="did you mean layers"):
            typed("vae", {"layer": 1}, {"layers": int})


def process(*words, **kwargs):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, check=False, **kwargs)


class TestAsAProcess:
    @pytest.mark.parametrize("words", ["models", "models --json", "--help", "fit --help", "--version"])
    def test_no_pytorch_is_imported(self, words):
        code = f"""
import sys
from pmodel.cli import main
try:
    main({words.split()})
except SystemExit as end:
    assert not end.code
heavy = {{"torch", "numpy", "PIL", "sklearn", "matplotlib"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
        result = process("-c", code)
        assert result.returncode == 0, result.stderr

    def test_the_module_is_the_command(self):
        result = process("-m", "pmodel", "models", "--json")
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads(result.stdout)

    def test_of_several_processes_the_first_speaks(self):
        first, second = (process("-m", "pmodel", "models", env=os.environ | {"RANK": rank}) for rank in "01")
        assert (first.returncode, second.returncode) == (0, 0)
        assert "vae" in first.stderr
        assert second.stderr == ""

    def test_a_closed_pipe_is_no_traceback(self):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as closed:
            result = subprocess.run(
                [sys.executable, "-m", "pmodel", "models", "--json"], stdout=closed, stderr=subprocess.PIPE, check=False
            )
        assert result.returncode == 1
        assert b"Traceback" not in result.stderr


def test_rounded_columns_are_written_rounded():
    from pmodel.cli.sampling import _cell_of
    from pmodel.domain import Column

    assert 1591 * 0.1 != 159.1
    assert _cell_of(Column("height", "stepped", step=0.1))(1591 * 0.1) == "159.1"
    assert _cell_of(Column("weight"))(0.1 + 0.2) == 0.1 + 0.2
