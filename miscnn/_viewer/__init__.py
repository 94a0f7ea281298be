"""Volumes made small for looking at, and the page that shows their slices.

This package knows arrays and grids and nothing of data sets; the report of an evaluation and
``Sample.show`` are built on it.
"""
