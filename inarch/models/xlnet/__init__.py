"""XLNet (Yang et al., 2019, arXiv:1906.08237)."""
