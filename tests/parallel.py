"""How pytest-xdist distributes tests: each to the next free process, those of a group to one."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "tests/faults/test_committer_drills.py": "",
    "tests/faults/test_damage_drills.py": "",
    "tests/faults/test_store_drills.py": "",
    "tests/faults/test_table_damage_drills.py": "",
    "tests/faults/test_writer_drills.py": "",
    "tests/ray/": "clusters",
    "tests/faults/": "clusters",
    "tests/browser/": "browser",
    "tests/docs/": "docs",
}
"""Folders whose tests run one after another: they start Ray, or share a browser or a store.

The files without a group are those of ``tests/faults`` that do not start Ray.
"""


class ByFolder(LoadScopeScheduling):
    """Groups by folder; the marks of ``--dist loadgroup`` have no effect with pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        groups = (name for folder, name in GROUPS.items() if nodeid.startswith(folder))
        return next(groups, "") or nodeid
