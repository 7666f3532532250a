"""Hyperparameter search with Optuna, and early stopping of its trials."""
