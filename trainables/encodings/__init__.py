"""Mask encodings, one file each: classes to the real-valued channels that are noised."""

from trainables.interfaces.encoding import Encoding

__all__ = ["Encoding"]
