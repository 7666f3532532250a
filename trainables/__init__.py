"""One run: a Config in, Records out. Needs torch, and Ray only in ``trainables.worker``."""
