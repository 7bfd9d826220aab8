"""Scores of channels: which of them stay."""
