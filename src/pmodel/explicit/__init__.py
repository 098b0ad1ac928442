"""Explicit density models: p_model(x) is written down, and is computed (tractable) or bounded (approximate)."""
