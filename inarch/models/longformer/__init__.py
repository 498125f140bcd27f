"""Longformer (Beltagy et al., 2020, arXiv:2004.05150)."""
