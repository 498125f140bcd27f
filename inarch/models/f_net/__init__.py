"""FNet (Lee-Thorp et al., 2021, arXiv:2105.03824)."""
