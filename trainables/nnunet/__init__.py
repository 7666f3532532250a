"""Trains and predicts with nnU-Net (the library nnunetv2): data, plans, trainer and predictor.

The library is imported when a trial begins. Its output and environment variables are confined to
the workspace of the trial.
"""
