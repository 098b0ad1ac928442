r"""Variational autoencoders: a latent z, a decoder p(x | z), and a bound instead of the integral.

.. math::

    p(x) = \int p(x \mid z)\, p(z)\, dz, \qquad
    \log p(x) = \underbrace{E_{q(z|x)}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, p(z))}_{\text{ELBO}}
    + \mathrm{KL}(q(z \mid x) \,\|\, p(z \mid x)).

The last term is unknown and never negative, so the evidence lower bound is below log p(x), and the more so the further the
approximate posterior q(z | x) is from the true one. Encoder and decoder both climb the bound: the decoder to fit the data,
the encoder to make it tight. Dropping the KL to the prior leaves an autoencoder, not a generative model. Dropping q, that is
maximising :math:`E_{p(z)}[\log p(x \mid z)]`, leaves a bound whose optimum ignores z.
"""
