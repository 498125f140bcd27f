"""ALBERT (Lan et al., 2019, arXiv:1909.11942)."""
