"""The sections of the report, one module each.

A module defines ``PLACE``, its position on the page, and ``section(tables, names)``, which returns
its :class:`~orchestrator.report.blocks.Section`, or None if the store holds no data for it.
"""
