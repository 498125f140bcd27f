"""OPT (Zhang et al., 2022, arXiv:2205.01068)."""
