"""Networks as files that run without this package, compared with torch before they are kept."""

from rlprune.export.check import Difference, ExportCheck
from rlprune.export.exporter import export_model
from rlprune.export.formats import FORMATS

__all__ = ["FORMATS", "Difference", "ExportCheck", "export_model"]
