"""Packages a study with its source, and runs it on a remote cluster."""
