"""Packages a study with its source, and runs it on a remote cluster."""

from orchestrator.remote.launcher import described, launch, shown, studies
from orchestrator.remote.package import doctor_of, job_of, sources, stage

__all__ = ["described", "doctor_of", "job_of", "launch", "shown", "sources", "stage", "studies"]
