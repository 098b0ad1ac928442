"""Vectors, entry by entry: FVBN, NADE and MADE.

``vector.py`` is what they share as models; ``conditionals.py`` the distributions of one entry: of bits, levels or reals.
"""
