"""Metrics of maps and answers: the catalogue, pure functions from a sample to rows, and the stage that writes them."""
