"""DeBERTa-v2 (He et al., 2021, arXiv:2006.03654) and DeBERTaV3 (arXiv:2111.09543)."""
