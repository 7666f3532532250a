"""Timestep fingerprints: probe curves over the noise level, and what is derived from them."""
