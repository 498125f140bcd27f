"""Phi-3 (Abdin et al., 2024, arXiv:2404.14219), Phi-4 and Phi-4-mini."""
