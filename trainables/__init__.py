"""One run: a Config in, rows out. Needs torch, and Ray only in ``trainables.worker``."""
