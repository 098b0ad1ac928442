"""Laws for every model: what it is, what it remembers, what it leaves alone, and what it can."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...catalogue import able, resolve
from ...domain import domain_from_json
from ...errors import NotSupported, UnknownName
from ...model import Model
from ...options import options_of
from ...storage import load, save
from ..check import ConformanceError, require
from ..fitting import learn
from ..law import VERBS, Law, always, calls
from ..subject import Subject

__all__ = ["LAWS"]


def options_are_recorded(subject: Subject) -> None:
    """Every constructor argument but domain and given is a keyword option, recorded as JSON, and rebuilds the model."""
    core = subject.blank.nested[-1]
    parameters = list(inspect.signature(type(core).__init__).parameters)[1:]
    plain = [name for name in parameters if name not in ("domain", "given", *options_of(type(core)))]
    require(not plain, "Options are keyword-only, else they are not recorded.", got=plain, hint="write * before them")
    require(
        set(core.options) == set(options_of(type(core))),
        "The recorded options are not the constructor's.",
        got=sorted(core.options),
        hint=f"expected {sorted(options_of(type(core)))}",
    )
    require(json.loads(json.dumps(core.options)) == core.options, "The options do not survive JSON.", got=core.options)
    again = type(core)(core.domain, core.given, **core.options)
    require(_shapes(again) == _shapes(core), "The recorded options build another model.", got=core.options)
    again = json.loads(json.dumps(subject.domain.to_json()))
    require(domain_from_json(again) == subject.domain, "The domain does not survive JSON.", got=again)


def state_dict_restores_the_model(subject: Subject) -> None:
    """A fresh instance with the trained one's state_dict samples and scores the same bits."""
    again = subject.fresh()
    try:
        again.load_state_dict(subject.fitted.state_dict())
    except RuntimeError as error:
        raise ConformanceError("A fresh instance has other tensors than the trained one.", got=error) from error
    _same_answers(subject, subject.fitted, again, "A fresh instance with the same state_dict")


def saved_model_is_the_same(subject: Subject) -> None:
    """Saved and loaded, a model has the same specification, samples and scores."""
    with tempfile.TemporaryDirectory() as folder:
        save(subject.fitted, folder)
        again = load(folder)
    require(again.spec() == subject.fitted.spec(), "The loaded model has another specification.", got=again.spec())
    _same_answers(subject, subject.fitted, again, "The loaded model")


def tensors_are_registered(subject: Subject) -> None:
    """Every tensor and module that a model holds is a parameter, a buffer or a submodule: so it is saved and moved."""
    model = subject.copied()
    for call in _supported(subject, model).values():
        call()
    stray = [
        f"{path or 'model'}.{name}"
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers", "_modules") and _holds_tensors(value)
    ]
    require(not stray, "Tensors are kept outside parameters and buffers.", got=stray, hint="register_buffer them")


def verbs_are_what_it_says(subject: Subject) -> None:
    """Every verb that it can works, and every other fails with NotSupported, which names the models that can."""
    model = subject.fitted
    for verb, call in calls(model, subject.domain, subject.held_out).items():
        if model.can(verb):
            try:
                answer = call()
            except Exception as error:
                raise ConformanceError(f"{verb} is declared and fails.", got=error) from error
            _works(subject, verb, answer)
        else:
            _is_not_supported(verb, call)


def catalogue_row_is_right(subject: Subject) -> None:
    """The row of the catalogue names the verbs and the likelihood that the model has; an estimate may be exact where small."""
    row, core = subject.row, subject.blank.nested[-1]
    if row is None:  # pragma: no cover - the law is only tried with a row
        return
    kind = core.kind if core.can("score") else "none"
    small = (row.density, kind) == ("estimate", "exact")
    verbs = set(core.capabilities) - ({"log_prob"} if small else set())
    require(verbs == set(row.capabilities), "The catalogue names other verbs.", got=core.capabilities)
    require(small or kind == row.density, "The catalogue names another kind of likelihood.", got=(kind, row.density))
    declared = {name for name in row.domains if name in ("discrete", "real", "table", "sequences")}
    natives = {native.__name__.lower() for native in type(core).natives}
    require(declared == natives, "The catalogue names other domains.", got=(sorted(declared), sorted(natives)))


def global_randomness_is_untouched(subject: Subject) -> None:
    """Nothing draws from PyTorch's global generator, and nothing depends on it."""
    state = torch.get_rng_state()
    try:
        for verb, call in _supported(subject, subject.fitted).items():
            torch.manual_seed(1)
            before = torch.get_rng_state()
            first = call()
            require(bool(torch.equal(before, torch.get_rng_state())), f"{verb} draws from the global generator.")
            torch.manual_seed(2)
            require(_equal(first, call()), f"{verb} depends on the global generator.")
        torch.manual_seed(1)
        before = torch.get_rng_state()
        learn(subject.fresh(), subject.data, steps=2, iterations=2)
        require(bool(torch.equal(before, torch.get_rng_state())), "Learning draws from the global generator.")
    finally:
        torch.set_rng_state(state)


def modes_are_restored(subject: Subject) -> None:
    """After any verb, every module is in the mode it was in; and the mode does not change the answer."""
    model = subject.copied()
    for verb, call in _supported(subject, model).items():
        with _mode(model, training=False):
            expected = call()
        with _mode(model, training=True):
            found = call()
            require(all(part.training for part in model.modules()), f"{verb} leaves the model in another mode.")
        require(_equal(expected, found), f"{verb} answers otherwise in training mode.", hint="dropout, or batch norm?")


def verbs_change_no_tensor(subject: Subject) -> None:
    """Sampling, scoring and the rest leave every parameter and buffer as it was."""
    model = subject.copied()
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for verb, call in _supported(subject, model).items():
        call()
        moved = [name for name, tensor in model.state_dict().items() if not _equal(tensor, before[name])]
        require(not moved, f"{verb} changes tensors of the model.", got=moved)


def _supported(subject: Subject, model: Any) -> dict[str, Callable[[], Any]]:
    """A call of each verb that the model can."""
    found = calls(model, subject.domain, subject.held_out)
    return {verb: found[verb] for verb in VERBS if model.can(verb)}


def _works(subject: Subject, verb: str, answer: Any) -> None:
    n = len(subject.held_out.x)
    require(isinstance(answer, Tensor) and len(answer) == n, f"{verb} does not answer for every datum.", got=answer)
    require(not bool(answer.isnan().any()), f"{verb} answers NaN.", got=answer)
    if verb in ("sample", "decode", "complete"):
        right = tuple(answer.shape[1:]) == subject.domain.shape
        require(right, f"{verb} answers in another shape than the data's.", got=tuple(answer.shape))
    elif verb != "encode":
        require(answer.ndim == 1, f"{verb} answers with more than one number a datum.", got=tuple(answer.shape))


def _is_not_supported(verb: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except NotSupported as error:
        missing = [name for name in able(verb) if name not in error.hint]
        named = verb in error.problem or verb == "marginalise"  # a model without scores says so first
        require(named and not missing, f"The error for {verb} does not name the models that can.", got=str(error))
    except Exception as error:
        require(False, f"{verb} is not declared and fails with {type(error).__name__}, not NotSupported.", got=error)
    else:
        require(False, f"{verb} works, and can({verb!r}) is false.")


def _same_answers(subject: Subject, model: Any, again: Any, who: str) -> None:
    calls_of_again = calls(again, subject.domain, subject.held_out)
    for verb, call in _supported(subject, model).items():
        require(_equal(call(), calls_of_again[verb]()), f"{who} answers otherwise to {verb}.")


def _equal(a: Tensor, b: Tensor) -> bool:
    """Equal bits, NaN included."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)))


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _holds_tensors(value: object) -> bool:
    """Whether a value is a tensor or an unregistered module, or a container of one."""
    if isinstance(value, dict):
        return any(_holds_tensors(item) for item in value.values())
    if isinstance(value, list | tuple | set):
        return any(_holds_tensors(item) for item in value)
    return isinstance(value, Tensor | nn.Module)


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    model.train(training)
    yield
    model.eval()


def _resolves(subject: Subject) -> bool:
    """Whether the model's class is found under its name: in the catalogue, or offered by an installed package."""
    cls: type[Model] = type(subject.blank.nested[-1])
    try:
        return resolve(cls.__name__) is cls
    except UnknownName:
        return False


def _native(subject: Subject) -> bool:
    """Whether the case is one that the catalogue's row speaks of: the model as it is."""
    return subject.row is not None and type(subject.blank.nested[-1]).refuses(subject.domain) is None


LAWS = (
    Law(options_are_recorded, always),
    Law(state_dict_restores_the_model, always),
    Law(saved_model_is_the_same, _resolves),
    Law(tensors_are_registered, always),
    Law(verbs_are_what_it_says, always),
    Law(catalogue_row_is_right, _native),
    Law(global_randomness_is_untouched, always),
    Law(modes_are_restored, always),
    Law(verbs_change_no_tensor, always),
)
