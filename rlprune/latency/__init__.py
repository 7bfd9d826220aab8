"""Latency: measured on the device, predicted for what was not measured."""
