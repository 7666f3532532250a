"""Timestep fingerprints: probe curves over the noise level, and what follows from them."""
