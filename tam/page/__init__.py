"""The page: answers and maps to explore in a browser, from disk."""
