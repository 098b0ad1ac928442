"""Two unpaired sets: what they are, their batches, and models that learn from them, in Python and on the command line."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import pmodel
from pmodel.cli import main
from pmodel.data import (
    Dataset,
    Split,
    condition,
    conditions,
    described,
    from_arrays,
    load_data,
    load_described,
    unpaired,
)
from pmodel.domain import Discrete
from pmodel.errors import BadInput, DataError, NotSupported, RunError
from pmodel.evaluation import Bench, evaluate
from pmodel.implicit.cyclegan import CycleGAN
from pmodel.learning import Recipe
from pmodel.storage import RECORD, digest, load, read_json
from pmodel.testing import ConformanceError, conformance
from pmodel.train import Training, plan, replay
from pmodel.train.batches import Batches
from pmodel.train.state import copied

PICTURE = Discrete((3, 8, 8), 256)


def noise(n, seed=0, domain=PICTURE):
    return torch.randint(0, domain.levels, (n, *domain.shape), generator=torch.Generator().manual_seed(seed))


def numbered(n, name="numbers"):
    """Data that are told apart: the number of each is its only entry."""
    split = Split(torch.arange(n)[:, None])
    return Dataset(name, Discrete((1,), 1000), split, split, split)


@pytest.fixture
def two():
    dark, light = noise(40) // 2, noise(30, 1) // 2 + 128
    return unpaired(
        *(from_arrays(x.to(torch.uint8).numpy(), name=name) for x, name in ((dark, "dark"), (light, "light")))
    )


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Dark pictures and light ones, each in a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PMODEL_CACHE", str(tmp_path / "cache"))
    for name, offset, count in (("dark", 0, 12), ("light", 128, 9)):
        (tmp_path / name).mkdir()
        for number, x in enumerate(noise(count, offset) // 2 + offset):
            Image.fromarray(x.permute(1, 2, 0).numpy().astype(np.uint8)).save(tmp_path / name / f"{number:02}.png")
    return tmp_path


@pytest.fixture
def call(folders, capsys):
    def run(words):
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(words))
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_the_hash_is_that_of_both_and_of_the_direction():
    a, b, c = numbered(5), numbered(6), numbered(7)
    assert len({unpaired(*pair).hash for pair in ((a, b), (b, a), (a, c), (c, b))}) == 4
    assert unpaired(a, b).hash == unpaired(numbered(5), numbered(6)).hash
    assert unpaired(a, b).hash != b.hash


def test_what_they_are(two):
    assert two.name == "dark to light"
    assert (two.domain, two.origin.domain) == (PICTURE, PICTURE)
    assert len(two.train) == 30
    assert "from dark: 40" in two.summary
    with pytest.raises(BadInput, match="one set"):
        unpaired(two, two.origin)
    with pytest.raises(BadInput, match="one set"):
        unpaired(two.origin, two)


def test_what_models_are_told(two):
    labelled = load_data("digits")
    assert condition(two, labels=False) == PICTURE
    assert condition(labelled, labels=True) == Discrete((), 10)
    assert condition(labelled, labels=False) is None
    for data in (two, two.origin):
        with pytest.raises(BadInput, match="conditional=true"):
            condition(data, labels=True)


@pytest.mark.parametrize("n", [0, 3, 40, 100])
def test_conditions_come_round_equally_often(n):
    data = unpaired(numbered(40), numbered(9))
    drawn = conditions(data, n, "train", torch.Generator().manual_seed(0)).flatten()
    assert drawn.shape == (n,)
    counts = torch.bincount(drawn, minlength=40)
    assert counts.max() - counts.min() <= 1
    assert conditions(numbered(3), n, "train", torch.Generator()) is None


def batches(data, size=4, shards=1):
    recipe, told = Recipe(batch=size), {"conditional": True, "origin": data.origin}
    return Batches(data.train, data.domain, recipe, 0, torch.device("cpu"), shards=shards, **told)


def test_each_set_is_passed_through_in_an_order_of_its_own():
    served = batches(unpaired(numbered(12), numbered(12)))
    drawn = [served.shard(number, 0) for number in range(6)]
    x, given = (torch.cat([getattr(batch, name) for batch in drawn]).flatten() for name in ("x", "given"))
    for order in (x, given):
        assert order[:12].sort().values.tolist() == order[12:].sort().values.tolist() == list(range(12))
        assert order[:12].tolist() != order[12:].tolist()
    assert x.tolist() != given.tolist()


def test_a_batch_is_a_function_of_its_number():
    data = unpaired(numbered(7), numbered(11))
    forwards, backwards = batches(data), batches(data)
    ahead = [forwards.shard(number, 0) for number in range(9)]
    for number in reversed(range(9)):
        again = backwards.shard(number, 0)
        assert torch.equal(again.x, ahead[number].x)
        assert torch.equal(again.given, ahead[number].given)


@pytest.mark.parametrize(("a", "b"), [(3, 20), (20, 3)])
def test_sets_of_different_sizes_make_batches_of_one_size(a, b):
    served = batches(unpaired(numbered(a), numbered(b)), size=8)
    seen = [served.shard(number, 0) for number in range(10)]
    assert {len(batch.x) == len(batch.given) == min(b, 8) for batch in seen} == {True}
    assert set(torch.cat([batch.given for batch in seen]).flatten().tolist()) == set(range(a))
    subset = served.subset(100, 0)
    assert len(subset.x) == len(subset.given) == 3


def test_shards_part_both_sets():
    data = unpaired(numbered(12), numbered(12))
    whole, parts = batches(data), batches(data, shards=2)
    for name in ("x", "given"):
        joined = torch.cat([getattr(parts.shard(0, shard), name) for shard in range(2)])
        assert torch.equal(joined, getattr(whole.shard(0, 0), name))


def test_labels_are_no_conditions_where_there_are_two_sets():
    digits = load_data("digits")
    data = unpaired(digits, digits.only("3"))
    served = batches(data)
    assert served.shard(0, 0).given.shape == (4, 1, 8, 8)


TINY = {"size": "tiny", "steps": 6, "precision": "float32"}


def test_a_run_of_two_sets_is_recorded_replayed_and_measured(folders):
    data = unpaired(load_data("dark"), load_data("light"))
    model = pmodel.fit("cyclegan", data, out="run", **TINY)
    record = read_json(folders / "run" / RECORD)
    assert record["data"] == json.loads(json.dumps(described(data)))
    assert load_described(record["data"]).hash == data.hash
    assert digest(load("run")) == digest(model)
    assert replay("run").same
    found = evaluate("run", n=8)
    assert found.speed["sampled"] == 8
    (folders / "dark" / "00.png").unlink()
    with pytest.raises(RunError, match="no longer"):
        evaluate("run")


def test_more_samples_than_pictures_are_spoken_of(two):
    model = CycleGAN.tiny(PICTURE)
    found = Bench(two, n=50).evaluate(model)
    assert any("translations of" in sentence for sentence in found.health)


def test_data_in_memory_cannot_be_loaded_again(two):
    with pytest.raises(DataError, match="in memory"):
        load_described(described(two))


def test_one_set_where_two_are_needed_and_two_where_one_is(two):
    with pytest.raises(BadInput, match="two sets"):
        pmodel.fit("cyclegan", two.origin, **TINY)
    for measured in ({"steps": 10}, {"budget": 1.0}):
        with pytest.raises(BadInput, match="two sets"):
            pmodel.fit("cyclegan", load_data("digits"), channels=2, **measured)
    with pytest.raises(NotSupported, match="class label"):
        pmodel.fit("dcgan", two, **TINY)
    with pytest.raises(BadInput, match="conditional=true"):
        pmodel.fit("cyclegan", two, conditional=True, **TINY)
    with pytest.raises(BadInput, match="both kinds"):
        pmodel.fit("cyclegan", unpaired(load_data("digits"), two.origin), **TINY)
    with pytest.raises(BadInput, match="two sets"):
        Bench(two.origin, n=8).evaluate(CycleGAN.tiny(PICTURE))
    with pytest.raises(BadInput, match="one set"):
        Bench(two, n=8).evaluate(pmodel.make("dcgan", PICTURE, latent=2, channels=2, width=4))


def learned(data, model, stop):
    """A run that is stopped after some steps and gone on with in a fresh model from its state."""
    chosen = plan(model(), data, steps=8, precision="float32", device="cpu")
    training, state = Training(model(), data, chosen), None
    for _ in training:
        if training.position.step <= stop:
            state = copied(training.state())
    again = Training(model(), data, chosen)
    again.restore(state)
    for _ in again:
        pass
    return digest(training.model) == digest(again.model)


def test_a_resumed_run_ends_with_the_same_bits_only_if_it_carries_its_pools(two, monkeypatch):
    def model():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return CycleGAN.tiny(PICTURE)

    assert learned(two, model, stop=4)
    monkeypatch.setattr(CycleGAN, "training_state", lambda self: {})
    assert not learned(two, model, stop=4)


def test_the_suite_finds_a_model_that_ignores_what_it_is_given(monkeypatch):
    monkeypatch.setattr(CycleGAN, "_sample", lambda self, n, given, generator: given.new_zeros(n, *self.domain.shape))
    checks = conformance(CycleGAN.tiny(Discrete((1, 2, 2), 4)))
    broken = next(check for check in checks if check.law == "translations_follow_their_data")
    with pytest.raises(ConformanceError, match="does not change"):
        broken()


def test_two_folders_on_the_command_line(call, folders):
    words = "fit cyclegan --data dark --to light --size tiny --steps 4 --seed 3 --precision float32 --out run"
    code, _, err = call(words)
    assert code == 0, err
    assert "dark to light" in err
    code, _, err = call("sample run --given dark --out translated")
    assert code == 0, err
    assert "12 samples" in err
    made = [np.asarray(Image.open(path)) for path in sorted((folders / "translated").iterdir())]
    x = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in made])
    sources = load_data("dark").test.x  # in the order of their names: so few are not split
    assert torch.equal(load("run").sample(given=sources), x.long())
    assert call("sample run --given light -n 5 --set backwards=true --out back.npz")[0] == 0
    back = load("run").sample(given=load_data("light").test.x[:5], backwards=True)
    assert torch.equal(torch.from_numpy(np.load("back.npz")["x"]).long(), back)
    assert call("evaluate run -n 8")[0] == 0
    assert call("show run")[0] == 0
    assert call("replay run --data dark --to light")[0] == 0
    assert "--data dark --to light" in (folders / "run" / "report.html").read_text()


def test_a_run_is_evaluated_on_two_other_folders(call, folders):
    """Of light pictures there are nine: asked for twelve samples, some are translated twice."""
    pmodel.fit("cyclegan", unpaired(load_data("dark"), load_data("light")), out="run", **TINY)
    code, out, err = call("evaluate run --data light --to dark -n 12 --json")
    assert code == 0, err
    assert any("translations of 9 data" in sentence for sentence in json.loads(out)["health"])
    assert "--data light --to dark" in (folders / "run" / "report.html").read_text()


@pytest.mark.parametrize("jobs", [1, 2])
def test_models_that_translate_are_compared(call, folders, jobs):
    words = "cyclegan:train.batch=2 cyclegan:cycle=1 dcgan:latent=2 --data dark --to light --out both --json"
    code, out, _ = call(f"compare {words} --size tiny --steps 2 -n 8 --precision float32 --jobs {jobs}")
    assert code == 1
    first, second, third = json.loads(out)["models"]
    assert first["error"] is second["error"] is None
    assert first["speed"]["sampled"] == second["speed"]["sampled"] == 8
    assert "class label" in third["error"]
    assert (folders / "both" / "report.html").exists()
    assert read_json(folders / "both" / first["run"] / RECORD)["data"]["origin"]["name"] == "dark"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("fit cyclegan --data dark --steps 1", "--to"),
        ("fit dcgan --data dark --to light --steps 1", "leave out --to"),
        ("fit cyclegan --data dark --to digits --steps 1", "both kinds"),
        ("fit cyclegan --data dark --to nowhere --steps 1", "nowhere"),
        ("sample run --out x.png", "--given"),
        ("sample run --given digits --out x.png", "kind that the run translates"),
        ("sample run --given dark -n 13 --out x.png", "12"),
        ("sample run --given dark --label 1 --out x.png", "--label"),
        ("sample run --given dark --set backwards=3 --out x.png", "backwards"),
        ("sample run --set data.size=8 --out x.png", "--given"),
        ("sample other --given dark --out x.png", "does not translate"),
        ("score run", "cannot score"),
        ("evaluate run --to dark", "--data"),
        ("evaluate run --data dark", "two sets"),
        ("evaluate run --data digits --to dark", "digits is not the kind"),
        ("evaluate run --data dark --to digits", "digits is not the kind"),
        ("evaluate other --data dark --to light", "one set"),
        ("replay run --to dark", "--data"),
        ("compare cyclegan --data dark --to nowhere --steps 1 --out x", "nowhere"),
    ],
)
def test_bad_commands_are_refused_in_words(call, words, named):
    pmodel.fit("cyclegan", unpaired(load_data("dark"), load_data("light")), out="run", **TINY | {"steps": 1})
    pmodel.fit("uniform", load_data("dark"), out="other")
    code, _, err = call(words)
    assert code in (1, 2)
    assert named in err
    assert "Traceback" not in err


def test_a_folder_as_a_whole(folders):
    whole = load_data("dark", whole=True)
    assert whole.train is whole.test
    assert replace(whole, options={}).hash == load_data("dark").hash
    with pytest.raises(BadInput, match="whole"):
        load_data("dark", whole="yes")
