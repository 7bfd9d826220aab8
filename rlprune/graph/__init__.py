"""Dependency groups, traced once, as plain data.

`trace.py` puts the steps together: `record.py` runs a network once and lets the `rules/` of every
operation pass `labels.py` on; `units.py` finds which units are alike; `compile.py` writes them down
as a `group_graph.py`; `learn.py` finds sizes that forwards have to be told; `verify.py` prunes for
real. `blocks.py` finds residual blocks, `keep.py` protects what the user names.
"""
