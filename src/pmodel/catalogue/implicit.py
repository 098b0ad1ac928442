"""Implicit models, and those of representation only."""

from __future__ import annotations

from .row import Row

__all__ = ["MODELS"]

MODELS: tuple[Row, ...] = (
    Row(
        name="gan",
        target="pmodel.implicit.gan:GAN",
        family="implicit",
        density="none",
        capabilities=("sample", "encode", "decode", "complete"),
        domains=("real",),
        year=2014,
        paper="https://arxiv.org/abs/1406.2661",
        line="a perceptron that generates, taught by one that tells samples from data",
    ),
    Row(
        name="dcgan",
        target="pmodel.implicit.dcgan:DCGAN",
        family="implicit",
        density="none",
        capabilities=("sample", "encode", "decode", "complete"),
        domains=("discrete",),
        year=2015,
        paper="https://arxiv.org/abs/1511.06434",
        line="a convolutional generator trained against a discriminator",
    ),
    Row(
        name="progan",
        target="pmodel.implicit.progan:ProGAN",
        family="implicit",
        density="none",
        capabilities=("sample", "encode", "decode", "complete"),
        domains=("discrete",),
        year=2017,
        paper="https://arxiv.org/abs/1710.10196",
        line="a convolutional pair that grows in training, doubling by doubling",
    ),
    Row(
        name="sagan",
        target="pmodel.implicit.sagan:SAGAN",
        family="implicit",
        density="none",
        capabilities=("sample", "encode", "decode", "complete"),
        domains=("discrete",),
        year=2018,
        paper="https://arxiv.org/abs/1805.08318",
        line="an adversarial pair of convolutions in which every place looks at all others",
    ),
    Row(
        name="transgan",
        target="pmodel.implicit.transgan:TransGAN",
        family="implicit",
        density="none",
        capabilities=("sample", "encode", "decode", "complete"),
        domains=("discrete",),
        year=2021,
        paper="https://arxiv.org/abs/2102.07074",
        line="transformers in both players, with attention within windows",
    ),
    Row(
        name="cyclegan",
        target="pmodel.implicit.cyclegan:CycleGAN",
        family="implicit",
        density="none",
        capabilities=("sample",),
        domains=("discrete",),
        year=2017,
        paper="https://arxiv.org/abs/1703.10593",
        line="two generators that turn pictures of one kind into another and back, learned from unpaired sets",
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
