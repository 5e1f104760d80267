"""Metrics of runs -> means, intervals and differences, as tables for people and programs."""
