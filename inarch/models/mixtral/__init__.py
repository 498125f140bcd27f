"""Mixtral (Jiang et al., 2024, arXiv:2401.04088)."""
