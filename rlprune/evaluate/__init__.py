"""Plan to measurement: recalibration, tasks and their metrics, one ledger."""
