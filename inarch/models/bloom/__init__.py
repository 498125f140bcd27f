"""BLOOM (BigScience Workshop, 2022, arXiv:2211.05100)."""
