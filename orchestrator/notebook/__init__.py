"""The notebook interface: studies, results and single trainings as Python objects."""

from orchestrator.notebook.results import Results, open_store
from orchestrator.notebook.study import Study, StudyPlan
from orchestrator.notebook.training import TrainingResult, train

__all__ = ["Results", "Study", "StudyPlan", "TrainingResult", "open_store", "train"]
