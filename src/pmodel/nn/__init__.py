"""Layers and networks that models of several families share, and what a network's outputs mean as a distribution."""
