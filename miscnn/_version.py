"""The one place that states the version."""

__version__ = "2.0.0a1"
