"""DeBERTa (He et al., 2021, arXiv:2006.03654)."""
