"""Explicit, approximate: p_model(x) is defined by an integral or a sum that is bounded or estimated."""
