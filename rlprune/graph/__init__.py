"""Dependency groups, traced once, as plain data; what is supported."""
