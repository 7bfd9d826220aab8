"""`python -m rlprune` is the command line."""

from rlprune.cli import main

main()
