"""Allocations that need no search."""
