"""Strings of symbols, and pictures as strings of patches: n-grams, which count, and a transformer, which attends.

``token_writing.py`` draws symbol by symbol, with the end and the settings of a draw, for both; ``token_model.py`` is the rest
that they share.
"""
