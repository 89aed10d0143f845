"""TOML → domain objects: unknown keys refused, every mistake at once, with file and key path."""

from dicomnode.config.models import load_model, model_from_text, model_path
from dicomnode.config.node import load

__all__ = ["load", "load_model", "model_from_text", "model_path"]
