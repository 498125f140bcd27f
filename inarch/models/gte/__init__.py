"""GTE's text encoder (Zhang et al., 2024, arXiv:2407.19669)."""
