"""Options that several models share: a dataclass that is written out in signatures, records, documentation and commands."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

import pmodel
from pmodel import Discrete, Real, catalogue
from pmodel.cli import main
from pmodel.cli.listing import options_json
from pmodel.errors import BadInput, UnknownName
from pmodel.implicit.game.game import Game
from pmodel.model import group_of
from pmodel.options import options_of, types_of
from pmodel.storage import RECORD, load, read_json
from reference_models import Bell

PLANE = Real((2,))
PAIRS = ("gan", "dcgan", "sagan", "progan", "transgan")
FIELDS = {field.name for field in dataclasses.fields(Game)}


@dataclass(frozen=True)
class Rules:
    """Of a game.

    Args:
        rounds: How many.
        names: Of the players.
    """

    rounds: int = 1
    names: Sequence[str] = ()


class Played(Bell):
    """A model with options in a group.

    Args:
        width: Of it.
        rules: Options of the rules.
    """

    rules = Rules(rounds=3)

    def __init__(self, domain, given=None, *, width: int = 2, **rules):
        super().__init__(domain, given)
        self.rules = Rules(**rules)


def test_a_group_is_written_out_with_the_defaults_of_the_class():
    assert {name: p.default for name, p in options_of(Played).items()} == {"width": 2, "rounds": 3, "names": ()}
    assert "rules" not in inspect.signature(Played).parameters
    model = Played(PLANE, names=("a", "b"))
    assert model.options == {"width": 2, "rounds": 3, "names": ["a", "b"]}
    assert model.rules == Rules(3, ("a", "b"))
    assert Played.rules == Rules(3)
    assert group_of(Bell) is None


def test_types_and_documentation_are_those_of_the_fields():
    assert types_of(Played, {})["rounds"] is int
    assert {row["name"]: (row["type"], row["doc"]) for row in options_json(Played) if row["wrapper"] is None} == {
        "width": ("int", "Of it."),
        "rounds": ("int", "How many."),
        "names": ("Sequence[str]", "Of the players."),
    }


def test_what_is_no_field_is_refused():
    with pytest.raises(TypeError, match="players"):
        Played(PLANE, players=2)


def test_a_subclass_has_the_group_of_its_own():
    class Longer(Played):
        rules = Rules(rounds=9)

        def __init__(self, domain, given=None, **rules):
            super().__init__(domain, given, **rules)

    assert Longer(PLANE).options == {"rounds": 9, "names": []}
    assert Longer(PLANE).rules.rounds == 9


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_has_the_options_of_the_game(name):
    cls = catalogue.find(name).load()
    found = {row["name"]: row for row in options_json(cls)}
    assert found.keys() >= FIELDS
    assert all(found[field]["doc"] for field in FIELDS)
    model = cls.tiny(PLANE if name == "gan" else Discrete((1, 8, 8), 17))
    defaults = {field: options_of(cls)[field].default for field in FIELDS}
    assert dataclasses.asdict(model.game) == {**defaults, **{k: v for k, v in cls.sizes["tiny"].items() if k in FIELDS}}
    with pytest.raises(UnknownName, match=f"option of {name}"):
        pmodel.make(name, model.domain, los="hinge")
    with pytest.raises(BadInput, match="wasserstein"):
        pmodel.make(name, model.domain, loss="hing")


def test_the_defaults_of_games_are_those_of_the_models():
    games = {name: catalogue.find(name).load().game for name in PAIRS}
    assert games["gan"] == Game("relativistic", 0.02)
    assert games["dcgan"] == games["sagan"] == games["transgan"] == Game("relativistic", 1.0, penalised_part=0.25)
    assert games["progan"] == Game("relativistic", 1.0)


def test_what_was_set_is_recorded_and_read_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "fit gan --data ring --size tiny --steps 2 --set loss=hinge penalised=data repeats=2 --out run"
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(words))
    assert ended.value.code == 0, capsys.readouterr().err
    recorded = read_json(tmp_path / "run" / RECORD)
    assert json.dumps(recorded).count('"loss": "hinge"') >= 1
    game = load("run").inner.game
    assert game == Game("hinge", 0.02, "data", repeats=2)
    fitted = pmodel.fit("gan", "ring", size="tiny", steps=2, loss="hinge", penalised="data", repeats=2)
    assert fitted.inner.game == game


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("loss=hing", "hinge"),
        ("los=hinge", "loss"),
        ("repeats=1.5", "1.5"),
        ("lead=0", "lead"),
        ("changes=size", "size"),
    ],
)
def test_bad_settings_are_refused_in_words(tmp_path, monkeypatch, capsys, setting, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(f"fit dcgan --data digits --steps 1 --set {setting}"))
    assert ended.value.code != 0
    err = capsys.readouterr().err
    assert named in err
    assert "Traceback" not in err


def test_the_list_of_options_shows_them_with_words(capsys):
    with pytest.raises(SystemExit):
        main(shlex.split("models sagan --json"))
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["options"]}
    assert (rows["loss"]["default"], rows["lead"]["default"], rows["changes"]["default"]) == ("relativistic", 1.0, [])
    assert "at data" in rows["penalised"]["doc"]
