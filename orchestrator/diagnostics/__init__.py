"""Checks of a machine, of a cluster's nodes and of data sets before a sweep."""
