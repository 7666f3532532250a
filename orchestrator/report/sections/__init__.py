"""The sections of the report, one file each: ``section(tables, naming)`` gives it, or None.

``PLACE`` says where on the page it comes.
"""
