"""Metrics of maps and answers: pure functions from a sample to rows, and the stage that writes them."""

from tam.metrics.stage import write_metrics

__all__ = ["write_metrics"]
