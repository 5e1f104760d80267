"""Emoji scenes: the dataset that the project composes itself. `scenes` draws and writes them."""
