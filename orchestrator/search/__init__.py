"""Search: Optuna's suggestions of hyperparameters, and the early stopping of search trials."""
