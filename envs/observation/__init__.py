"""What the agent sees: one vector of fixed length for each group, whatever the network.

`table.py` has every entry; each other file is one block of them.
"""
