"""Ask the model, and keep the few logits that the maps are computed from. The only stage with the model."""

from tam.generation.stage import generate

__all__ = ["generate"]
