"""From a search space to cells, the trials that are left, and what they cost."""
