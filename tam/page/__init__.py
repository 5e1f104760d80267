"""The page: answers and maps to explore in a browser, from disk."""

from tam.page.single import single_page
from tam.page.stage import write_page

__all__ = ["single_page", "write_page"]
