"""The stage `export`: maps for other programs, as NumPy arrays or as COCO's masks."""
