"""EuroBERT (Boizard et al., 2025, arXiv:2503.05500)."""
