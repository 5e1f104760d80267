"""The page: answers and maps to explore in a browser, from disk."""

from tam.page.stage import RunFiles, single_page, write_page

__all__ = ["RunFiles", "single_page", "write_page"]
