"""The papers behind a report, as BibTeX: of pmodel, of every model that appears, and of every measurement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from .. import __version__
from ..catalogue import models
from ..metrics.catalogue import METRICS

__all__ = ["MODEL_SOURCES", "bibtex", "entries", "entry", "keys"]

MODEL_SOURCES = {
    "uniform": "laplace1812",
    "histogram": "pearson1895",
    "gaussian": "gauss1809",
    "mixture": "dempster1977",
    "hmm": "baum1970",
    "nice": "dinh2015",
    "realnvp": "dinh2017",
    "glow": "kingmaglow2018",
    "maf": "papamakarios2017",
    "iaf": "kingmaiaf2016",
    "nsf": "durkan2019",
    "fvbn": "frey1996",
    "nade": "larochelle2011",
    "made": "germain2015",
    "ngram": "kneser1995",
    "transformer": "vaswani2017",
    "pixelcnn": "vandenoord2016",
    "pixelrnn": "vandenoordrnn2016",
    "vae": "kingma2014",
    "rbm": "hinton2002",
    "dvae": "jang2017",
    "vqvae": "vandenoord2017",
    "ebm": "du2019",
    "ddpm": "ho2020",
    "gan": "goodfellow2014",
    "dcgan": "radford2016",
    "sagan": "zhang2019",
    "progan": "karras2018",
    "transgan": "jiang2021",
    "cyclegan": "zhu2017",
    "autoencoder": "hinton2006",
}
"""The entry of each model's paper."""
WEIGHTED = "burda2016"
"""The entry of the importance-weighted bound."""
OWN = f"""@software{{pmodel,
  author    = {{{{The pmodel authors}}}},
  title     = {{pmodel: every family of generative model behind one interface}},
  version   = {{{__version__}}},
  year      = {{2026}},
}}"""


@cache
def entries() -> dict[str, str]:
    """All entries by their keys: pmodel's own, and those of ``references.bib``."""
    text = files(__package__).joinpath("references.bib").read_text(encoding="utf-8")
    parts = [part.strip() for part in re.split(r"^(?=@)", text, flags=re.MULTILINE) if part.strip()]
    return {"pmodel": OWN} | {part[part.index("{") + 1 : part.index(",")]: part for part in parts}


def keys(report: Mapping[str, Any]) -> list[str]:
    """The entries of what a report used, in the order in which it appears: pmodel, models, estimators, measurements."""
    rows = report["models"]
    found = ["pmodel", *(MODEL_SOURCES.get(model["name"], model["name"]) for model in rows)]
    estimators = [(model["likelihood"] or {}).get("estimator", "") for model in rows]
    found += [WEIGHTED] if any("importance-weighted" in estimator for estimator in estimators) else []
    found += [row.source for row in METRICS if row.source and any(row.name in model["metrics"] for model in rows)]
    return list(dict.fromkeys(found))


def bibtex(wanted: Iterable[str]) -> str:
    """Entries by their keys, one after another."""
    return "\n\n".join(text for key in wanted if (text := entry(key)))


def entry(key: str) -> str:
    """One entry; of a model that is in none, the page that the catalogue knows; empty if nothing is known."""
    if key in entries():
        return entries()[key]
    row = next((row for row in models() if row.name == key), None)
    if row is None:
        return ""
    named = re.sub(r"[^A-Za-z0-9]", "", row.name) or "model"
    fields = {"title": f"{row.name}: {row.line}", "year": str(row.year), "url": row.paper}
    lines = "".join(f"  {name:<9} = {{{_plain(value)}}},\n" for name, value in fields.items())
    return f"@misc{{{named}{row.year},\n{lines}}}"


def _plain(text: str) -> str:
    """Text without what BibTeX would take for its own signs."""
    return re.sub(r"[{}\\]", "", text)
