"""The catalogue: one literal row for each model. Reading it imports nothing heavy.

Names are resolved here and nowhere else: a run folder can name a model of this table, a wrapper, or a model that an
installed package offers under the entry-point group ``pmodel.models``, and nothing more. Such an entry point is a function
without arguments that returns a ``Row``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, final

from .errors import unknown

if TYPE_CHECKING:
    from .model import Model

__all__ = ["MODELS", "WRAPPERS", "Row", "able", "find", "models", "resolve"]


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of a model without importing it.

    Args:
        name: Its name on the command line.
        target: ``"module:Class"``.
        family: Its place in the taxonomy.
        density: What its likelihood is on its native domain; an ``estimate`` may be exact, with a log-probability, in instances
            that are small enough.
        capabilities: Its verbs at any size.
        domains: The kinds of data it takes by itself; wrappers add others.
        year: Of the paper.
        paper: Where it is described.
        line: What it is, in a line.
    """

    name: str
    target: str
    family: str
    density: Literal["exact", "lower_bound", "estimate", "none"]
    capabilities: tuple[str, ...]
    domains: tuple[str, ...]
    year: int
    paper: str
    line: str

    def to_json(self) -> dict[str, Any]:
        """The row as JSON."""
        return asdict(self)

    def load(self) -> type[Model]:
        """Import the class."""
        return _import(self.target)


EXACT = ("sample", "score", "log_prob")

MODELS: tuple[Row, ...] = (
    Row(
        name="uniform",
        target="pmodel.explicit.tractable.uniform:Uniform",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete", "marginalise"),
        domains=("discrete", "real"),
        year=1812,
        paper="https://en.wikipedia.org/wiki/Continuous_uniform_distribution",
        line="every datum in a box is equally likely",
    ),
    Row(
        name="histogram",
        target="pmodel.explicit.tractable.histogram:Histogram",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete", "marginalise"),
        domains=("discrete", "real"),
        year=1895,
        paper="https://doi.org/10.1098/rsta.1895.0010",
        line="counts of values or bins, joint where the table is small",
    ),
    Row(
        name="gaussian",
        target="pmodel.explicit.tractable.gaussian:Gaussian",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete", "marginalise"),
        domains=("real",),
        year=1809,
        paper="https://en.wikipedia.org/wiki/Multivariate_normal_distribution",
        line="one mean, one covariance, exact conditionals",
    ),
    Row(
        name="mixture",
        target="pmodel.explicit.tractable.mixture:Mixture",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete", "marginalise"),
        domains=("discrete", "real"),
        year=1977,
        paper="https://doi.org/10.1111/j.2517-6161.1977.tb01600.x",
        line="a weighted sum of Gaussians, or of products of categories, by expectation maximisation",
    ),
    Row(
        name="hmm",
        target="pmodel.explicit.tractable.hmm.hmm:HMM",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete", "marginalise"),
        domains=("sequences",),
        year=1970,
        paper="https://doi.org/10.1214/aoms/1177697196",
        line="a chain of hidden states, each emitting an element; by expectation maximisation over sequences",
    ),
    Row(
        name="nice",
        target="pmodel.explicit.tractable.flow.nice:NICE",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "encode", "decode"),
        domains=("real",),
        year=2014,
        paper="https://arxiv.org/abs/1410.8516",
        line="couplings that shift one half of the entries by the other, and one scale for each",
    ),
    Row(
        name="realnvp",
        target="pmodel.explicit.tractable.flow.realnvp:RealNVP",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "encode", "decode"),
        domains=("real",),
        year=2016,
        paper="https://arxiv.org/abs/1605.08803",
        line="noise pulled through invertible couplings, whose determinants give an exact density",
    ),
    Row(
        name="glow",
        target="pmodel.explicit.tractable.flow.glow:Glow",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "encode", "decode"),
        domains=("real",),
        year=2018,
        paper="https://arxiv.org/abs/1807.03039",
        line="a flow of pictures whose channels are mixed by invertible 1×1 convolutions",
    ),
    Row(
        name="maf",
        target="pmodel.explicit.tractable.flow.maf:MAF",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "encode", "decode"),
        domains=("real",),
        year=2017,
        paper="https://arxiv.org/abs/1705.07057",
        line="each entry shifted and scaled by those before it, several times over: one pass scores, D steps sample",
    ),
    Row(
        name="iaf",
        target="pmodel.explicit.tractable.flow.iaf:IAF",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "encode", "decode"),
        domains=("real",),
        year=2016,
        paper="https://arxiv.org/abs/1606.04934",
        line="each entry shifted and scaled by the noise before it: one pass samples, D steps score",
    ),
    Row(
        name="nsf",
        target="pmodel.explicit.tractable.flow.nsf:NSF",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "encode", "decode"),
        domains=("real",),
        year=2019,
        paper="https://arxiv.org/abs/1906.04032",
        line="monotone rational splines, by couplings or autoregressive, with learned linear maps between",
    ),
    Row(
        name="fvbn",
        target="pmodel.explicit.tractable.autoregressive.vectors.fvbn:FVBN",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete"),
        domains=("discrete", "real"),
        year=1996,
        paper="https://papers.nips.cc/paper/1153-does-the-wake-sleep-algorithm-produce-good-density-estimators",
        line="a logistic regression of each entry on the earlier ones",
    ),
    Row(
        name="nade",
        target="pmodel.explicit.tractable.autoregressive.vectors.nade:NADE",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete"),
        domains=("discrete", "real"),
        year=2011,
        paper="https://proceedings.mlr.press/v15/larochelle11a.html",
        line="a network for each entry given the earlier ones, all with shared weights",
    ),
    Row(
        name="made",
        target="pmodel.explicit.tractable.autoregressive.vectors.made:MADE",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete"),
        domains=("discrete", "real"),
        year=2015,
        paper="https://arxiv.org/abs/1502.03509",
        line="one masked network for all entries, in one order or a mixture of several",
    ),
    Row(
        name="pixelcnn",
        target="pmodel.explicit.tractable.autoregressive.pixels.pixelcnn:PixelCNN",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete"),
        domains=("discrete",),
        year=2016,
        paper="https://arxiv.org/abs/1606.05328",
        line="each pixel given the earlier ones, by gated convolutions; sampled from a cache",
    ),
    Row(
        name="ngram",
        target="pmodel.explicit.tractable.autoregressive.tokens.ngram:NGram",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete"),
        domains=("sequences",),
        year=1995,
        paper="https://doi.org/10.1109/ICASSP.1995.479394",
        line="each symbol given the few before it, by smoothed counts",
    ),
    Row(
        name="transformer",
        target="pmodel.explicit.tractable.autoregressive.tokens.transformer:Transformer",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete"),
        domains=("discrete", "sequences"),
        year=2017,
        paper="https://arxiv.org/abs/1706.03762",
        line="each symbol, or patch of a picture, given the earlier ones, by attention; sampled with a key-value cache",
    ),
    Row(
        name="pixelrnn",
        target="pmodel.explicit.tractable.autoregressive.pixels.pixelrnn:PixelRNN",
        family="explicit, tractable",
        density="exact",
        capabilities=(*EXACT, "complete"),
        domains=("discrete",),
        year=2016,
        paper="https://arxiv.org/abs/1601.06759",
        line="each pixel given the earlier ones, by memories that run over rows or diagonals; sampled from a cache",
    ),
    Row(
        name="vae",
        target="pmodel.explicit.approximate.vae.vae:VAE",
        family="explicit, approximate",
        density="lower_bound",
        capabilities=("sample", "score", "elbo", "encode", "decode"),
        domains=("discrete", "real"),
        year=2013,
        paper="https://arxiv.org/abs/1312.6114",
        line="latent Gaussians, in one layer or several, decoded by a network and trained on a bound",
    ),
    Row(
        name="rbm",
        target="pmodel.explicit.approximate.energy.rbm:RBM",
        family="explicit, approximate",
        density="estimate",
        capabilities=("sample", "score", "energy", "encode", "decode"),
        domains=("discrete", "real"),
        year=2002,
        paper="https://doi.org/10.1162/089976602760128018",
        line="visible and hidden units with an energy of their pairs, sampled by turns; exact where small",
    ),
    Row(
        name="dvae",
        target="pmodel.explicit.approximate.vae.dvae:DVAE",
        family="explicit, approximate",
        density="lower_bound",
        capabilities=("sample", "score", "elbo", "encode", "decode"),
        domains=("discrete", "real"),
        year=2016,
        paper="https://arxiv.org/abs/1611.01144",
        line="a grid of categories drawn by the Gumbel-softmax, then a transformer of the grid",
    ),
    Row(
        name="vqvae",
        target="pmodel.explicit.approximate.vae.vqvae:VQVAE",
        family="explicit, approximate",
        density="lower_bound",
        capabilities=("sample", "score", "elbo", "encode", "decode"),
        domains=("discrete", "real"),
        year=2017,
        paper="https://arxiv.org/abs/1711.00937",
        line="a grid of codes, each the nearest in a codebook, then a transformer of the grid",
    ),
    Row(
        name="ebm",
        target="pmodel.explicit.approximate.energy.ebm:EBM",
        family="explicit, approximate",
        density="estimate",
        capabilities=("sample", "score", "energy"),
        domains=("real",),
        year=2019,
        paper="https://arxiv.org/abs/1903.08689",
        line="a network is the energy, learned from Langevin chains in a replay buffer, or by denoising, which leads them",
    ),
    Row(
        name="ddpm",
        target="pmodel.explicit.approximate.diffusion.ddpm:DDPM",
        family="explicit, approximate",
        density="lower_bound",
        capabilities=("sample", "score", "elbo", "complete"),
        domains=("discrete", "real"),
        year=2020,
        paper="https://arxiv.org/abs/2006.11239",
        line="noise turned into data step by step, by a network trained to denoise",
    ),
    Row(
        name="dcgan",
        target="pmodel.implicit.dcgan:DCGAN",
        family="implicit",
        density="none",
        capabilities=("sample",),
        domains=("discrete",),
        year=2015,
        paper="https://arxiv.org/abs/1511.06434",
        line="a convolutional generator trained against a discriminator",
    ),
    Row(
        name="autoencoder",
        target="pmodel.representation.autoencoder:Autoencoder",
        family="representation",
        density="none",
        capabilities=("encode", "decode"),
        domains=("discrete", "real"),
        year=2006,
        paper="https://doi.org/10.1126/science.1127647",
        line="a code for each datum and the way back; with a density of its codes it draws new data",
    ),
)

WRAPPERS: dict[str, str] = {
    "Standardised": "pmodel.wrappers:Standardised",
    "Dequantised": "pmodel.wrappers:Dequantised",
    "ByClass": "pmodel.wrappers:ByClass",
    "WithPrior": "pmodel.wrappers:WithPrior",
}


@cache
def models() -> tuple[Row, ...]:
    """All rows: those of this table, then those of installed packages."""
    found = [point.load()() for point in importlib.metadata.entry_points(group="pmodel.models")]
    return (*MODELS, *(row for row in found if isinstance(row, Row)))


def find(name: str) -> Row:
    """The row of a name.

    Raises:
        UnknownName: with the nearest names and all of them.
    """
    for row in models():
        if row.name == name:
            return row
    raise unknown("model", name, [row.name for row in models()])


def able(verb: str) -> list[str]:
    """The names of the models that have a verb."""
    return [row.name for row in models() if verb in row.capabilities]


def resolve(name: str) -> type[Model]:
    """The class behind a class name in a run folder.

    Raises:
        UnknownName: if it is neither a wrapper nor a model of the catalogue.
    """
    targets = WRAPPERS | {row.target.partition(":")[2]: row.target for row in models()}
    if name not in targets:
        raise unknown("model class", name, targets)
    return _import(targets[name])


def _import(target: str) -> type[Model]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
