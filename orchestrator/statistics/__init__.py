"""Statistical inference on plain arrays: bootstrap intervals and hypothesis tests."""
