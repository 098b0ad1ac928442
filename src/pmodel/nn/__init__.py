"""Layers that three models or more share unchanged."""
