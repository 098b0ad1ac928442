"""Explicit models whose density is approximated."""

from __future__ import annotations

from .row import Row

__all__ = ["MODELS"]

MODELS: tuple[Row, ...] = (
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
)
