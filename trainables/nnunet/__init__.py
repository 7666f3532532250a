"""nnU-Net itself (the library nnunetv2) as a trial: its data, its plan, its trainer, its predictor.

Nothing of it is imported before a trial begins; what it prints, and the environment variables that
it reads, stay in the trial's own directory.
"""
