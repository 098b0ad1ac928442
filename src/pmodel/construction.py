"""From a name or a recorded specification to a model, with the right wrappers around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import catalogue
from .capability import Latent
from .domain import Discrete, Domain, Real, Sequences, Table, domain_from_json
from .errors import BadInput, NotSupported, PmodelError, unknown
from .model import Model
from .options import PRIOR, choices_of, options_of, parted, prior_of
from .randomness import forked
from .settings import typed
from .wrappers import ByClass, Dequantised, Standardised, WithPrior

__all__ = ["build", "make", "wrapped"]


def make(name: str, domain: Domain, given: Domain | None = None, *, seed: int = 0, **options: Any) -> Model:
    """A fresh model of the catalogue for data of a domain.

    A model of real data is standardised; on discrete data and mixed tables it is dequantised; one that cannot take a label
    by itself becomes one model for each class; and one with a code gets a prior of its codes, where it usually has one or one
    is asked for: ``make("vae", domain, prior="maf", **{"prior.layers": 3})``.

    Args:
        name: A name of the catalogue.
        domain: What one datum is.
        given: What the condition is, a label or a datum of a second set to translate; or None.
        seed: For the initial weights.
        **options: The model's own options, those of the wrappers around it, and those of a prior; ``pmodel models NAME``
            lists them.

    Raises:
        UnknownName: if the model, a prior or an option does not exist.
        BadInput: if an option's value is not allowed, or there is nothing to dequantise.
        NotSupported: if the model cannot take data of this domain at all, or not where values are missing.
    """
    cls = catalogue.find(name).load()
    known = choices_of(cls, options)
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    try:
        with forked(seed, "init"):
            model = wrapped(cls, domain, given, options)
    except TypeError as error:
        if not isinstance(error, PmodelError):  # a value of another type was used as one of its own: say which
            typed(name, options, {option: choice.type for option, choice in known.items()})
        raise
    if domain.missing and not model.can("marginalise"):
        columns = [column.name for column in domain.columns if column.missing] if isinstance(domain, Table) else []
        raise NotSupported(
            f"{name} cannot learn from data with missing values.",
            got=f"columns with missing values: {columns}" if columns else domain,
            hint=f"drop those rows or columns, or use {' or '.join(catalogue.able('marginalise'))}",
        )
    return model


def wrapped(cls: type[Model], domain: Domain, given: Domain | None, options: Mapping[str, Any]) -> Model:
    """A model of a class with the wrappers that it needs for a domain and a condition.

    Raises:
        NotSupported: if the model cannot take data of this domain at all, or such a condition.
    """
    if given is not None and given.label == cls.translates:
        if not cls.translates:
            words = f"{cls.__name__} does not translate: it is given a class label."
            raise NotSupported(words, got=given, hint="leave out --to, or take cyclegan")
        raise NotSupported(f"The condition of {cls.__name__} is a datum of a second set.", got=given)
    if isinstance(given, Discrete) and given.label and not cls.conditional:
        return ByClass(wrapped(cls, domain, None, options), given)
    own = {name: value for name, value in options.items() if name in options_of(cls)}
    around = {name: value for name, value in options.items() if name in options_of(Dequantised)}
    reason = cls.refuses(domain)
    if reason is None and cls.suits(domain, own):
        if around:
            raise BadInput(f"{cls.__name__} takes these data as they are: there is nothing to dequantise.", got=around)
        model = _with_prior(cls(domain, given, **own), options)
        return Standardised(model) if isinstance(domain, Real) and cls.standardise else model
    real = Real(domain.shape)
    if isinstance(domain, Real | Sequences) or cls.refuses(real) is not None:
        raise NotSupported(f"{cls.__name__} cannot take these data: {reason}.", got=domain)
    within = {name: value for name, value in options.items() if name not in around}
    return Dequantised(wrapped(cls, real, given, within), domain, **around)


def _with_prior(model: Model, options: Mapping[str, Any]) -> Model:
    """The model with the prior of its codes that the options name, or that it usually has; or as it is.

    Raises:
        NotSupported: if the prior cannot take these codes.
    """
    name = prior_of(type(model), options)
    if name is None or not isinstance(model, Latent):
        return model
    outer, within = parted(options)
    usual = model.prior_options if outer.get(PRIOR, "auto") == "auto" else {}
    try:
        prior = wrapped(catalogue.find(name).load(), model.codes, model.given, {**usual, **within})
    except NotSupported as error:
        what = f"The prior {name} cannot take the codes of {type(model).__name__}."
        raise NotSupported(what, got=error, hint="pmodel models lists what each model takes") from error
    return WithPrior(model, prior, **{k: v for k, v in outer.items() if k in options_of(WithPrior)})


def build(spec: Mapping[str, Any]) -> Model:
    """The model that ``Model.spec`` described, with fresh weights. Names resolve only in the catalogue.

    Raises:
        BadInput: if the specification is malformed.
        UnknownName: if it names a model or option that does not exist.
    """
    try:
        return _build(spec, depth=0)
    except PmodelError:
        raise
    except Exception as error:  # whatever a hostile file makes of a constructor
        raise BadInput("This is not the specification of a model.", got=f"{type(error).__name__}: {error}") from error


def _build(spec: Mapping[str, Any], depth: int) -> Model:
    if depth > 8:
        raise BadInput("A model's specification is nested at most eight deep.")
    cls = catalogue.resolve(str(spec["model"]))

    def part(name: str) -> Model:
        return _build(spec[name], depth + 1)

    if cls is Standardised:
        return Standardised(part("inner"))
    if cls is Dequantised:
        noise = spec.get("dequantisation", "uniform")
        return Dequantised(part("inner"), domain_from_json(spec["domain"]), dequantisation=noise)
    if cls is ByClass:
        given = domain_from_json(spec["given"])
        if not isinstance(given, Discrete):
            raise BadInput("The condition of a model is a class label.", got=given)
        return ByClass(part("inner"), given)
    if cls is WithPrior:
        return WithPrior(part("autoencoder"), part("prior"), handover=spec["handover"])
    options = dict(spec["options"])
    for option in options:
        if option not in options_of(cls):
            raise unknown(f"option of {cls.__name__}", option, options_of(cls))
    given_json = spec["given"]
    return cls(
        domain_from_json(spec["domain"]), None if given_json is None else domain_from_json(given_json), **options
    )
