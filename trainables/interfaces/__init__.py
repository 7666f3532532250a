"""Abstract classes, one file per kind of part, which the packages of the kinds re-export."""
