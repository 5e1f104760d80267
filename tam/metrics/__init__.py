"""Metrics of maps and answers: the catalogue of them, pure functions from a sample to rows, the stage that writes them."""
