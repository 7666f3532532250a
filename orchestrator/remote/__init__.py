"""Packages a study, and runs it on another cluster."""
