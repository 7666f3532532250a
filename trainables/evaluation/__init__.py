"""Measurements of a trained network: metrics, probes, pictures and calibration."""
