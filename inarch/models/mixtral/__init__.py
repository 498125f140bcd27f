"""Mixtral (Jiang et al., 2024, arXiv:2401.04088) and Qwen3-MoE, of the same graph."""
