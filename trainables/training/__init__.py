"""One attempt at a config: the training loop, its checkpoints and its final test."""
