r"""Hidden Markov models: :math:`p(x) = \sum_z p(z_1) \prod_t p(z_{t+1} \mid z_t) \prod_t p(x_t \mid z_t)`.

``packing`` sets sequences of different lengths side by side; ``forward_backward`` and ``log_space`` sum over all paths of
states, ``paths`` finds and draws single ones; ``emission`` is what a state emits, ``inference`` what data say of the states;
``start`` and ``baum_welch`` fit, and ``hmm`` is the model.
"""
