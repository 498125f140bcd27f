"""Nomic BERT (Nussbaum et al., 2024, arXiv:2402.01613)."""
