"""Statistical inference on plain arrays: bootstrap intervals, hypothesis tests and verdicts."""
