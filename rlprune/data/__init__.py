"""Tasks: built-in, from folders and from the user's own file, always as four disjoint splits."""

from rlprune.data.registry import DATA_NAMES, load_data
from rlprune.data.splits import DataSplits, Role, Split, carve

__all__ = ["DATA_NAMES", "DataSplits", "Role", "Split", "carve", "load_data"]
