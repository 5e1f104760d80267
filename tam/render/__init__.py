"""Pictures of maps: overlays on the media, and token text by XeLaTeX or, without TeX, by Pillow."""

from tam.render.sample import Look
from tam.render.stage import draw, render

__all__ = ["Look", "draw", "render"]
