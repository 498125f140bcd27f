"""Gemma 2 (Gemma Team, 2024, arXiv:2408.00118)."""
