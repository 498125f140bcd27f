"""Llama (Touvron et al., 2023, arXiv:2302.13971) and its relatives of the same graph."""
