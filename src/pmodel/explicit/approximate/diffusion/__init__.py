r"""Diffusion models: noise is added to data step by step, and a network learns to take it away again.

Time runs from t = 0, data, to t = 1, noise. At each time the noised datum is Gaussian around the scaled datum,

.. math::

    q(x_t \mid x_0) = N(\alpha_t x_0, \sigma_t^2 I), \qquad \alpha_t^2 + \sigma_t^2 = 1, \qquad
    \mathrm{SNR}(t) = \alpha_t^2 / \sigma_t^2 \text{ falling},

so that :math:`x_1` is as good as standard normal. The noising chain :math:`q(x_t \mid x_s)`, s < t, has nothing to learn. Its
exact reverse needs the datum, :math:`q(x_s \mid x_t, x_0)`; the reverse chain that is sampled puts the network's guess
:math:`\hat x_0(x_t, t)` in its place,

.. math:: p(x_s \mid x_t) = q(x_s \mid x_t, x_0 = \hat x_0(x_t, t)).

It is a variational autoencoder whose codes are the noised data and whose encoder is fixed. Its bound is

.. math::

    \log p(x) \ge \underbrace{E \log p(x \mid x_1)}_{-L_0}
    - \sum_{t > 1} \underbrace{E\, \mathrm{KL}(q(x_{t-1} \mid x_t, x) \,\|\, p(x_{t-1} \mid x_t))}_{L_{t-1}}
    - \underbrace{\mathrm{KL}(q(x_T \mid x) \,\|\, N(0, I))}_{L_T},

with t counted in steps. Each :math:`L_{t-1}` is a weighted squared error of the guess, which is why a regression trains it.

Common slips in teaching material, with :math:`\bar a_t = \alpha_t^2` and :math:`\beta_t = 1 - \alpha_t^2 / \alpha_{t-1}^2`:

- :math:`\bar a_t` is the product of all :math:`1 - \beta_s` up to t, at the t of each datum: :math:`\sqrt{1 - \bar a_t}`, not
  :math:`1 - \bar a`, and along the steps, not along the data of a batch.
- The noised datum holds :math:`\sqrt{1 - \bar a_t}\, \epsilon`: a product of the noise with its standard deviation.
- A step adds :math:`\mathrm{std}_t z`. Adding :math:`(1 - \beta_t) z`, as if the decay were the noise, leaves standard normal
  data with the standard deviation 16.5.
- The reverse chain's Gaussian has the covariance :math:`\mathrm{std}_t^2 I`: not a standard deviation.
- With fewer steps, :math:`\beta` is that of the larger step, never the original beside a thinned-out :math:`\bar a`.
- Guidance is :math:`\epsilon_u + w (\epsilon_c - \epsilon_u)`: w = 1 is the conditional model, and w = 0 the unconditional.
"""
