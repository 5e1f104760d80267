"""Figures of a run, and of all runs of a dataset, as PDF, SVG and PNG; the same data give the same bytes."""
