"""Results that are expensive to measure, kept from one run to the next.

`fingerprint.py` says what a result was measured on, `store.py` keeps it in small files.
"""
