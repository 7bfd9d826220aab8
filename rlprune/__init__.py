"""rlprune."""
