"""Allocations that need no search: each takes a problem and returns a plan for its budget."""
