"""The version, imported by every package."""

__version__ = "0.1.0"
