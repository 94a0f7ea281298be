"""Data sets to learn and to test with."""
