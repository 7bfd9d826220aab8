"""Analytic MACs and parameters, measured latency, budgets and their decoder."""
