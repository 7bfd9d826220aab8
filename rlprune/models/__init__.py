"""Networks: built-in, from torchvision, timm and the user's own file, with their weights."""

from rlprune.models.registry import BUILTIN_NAMES, LoadedModel, build_model, load_model, rebuild

__all__ = ["BUILTIN_NAMES", "LoadedModel", "build_model", "load_model", "rebuild"]
