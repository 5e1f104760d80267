"""Pictures of maps: overlays on the media, and token text by XeLaTeX or, without TeX, by Pillow."""
