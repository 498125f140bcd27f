"""Gemma 3 of texts (Gemma Team, 2025, arXiv:2503.19786) and EmbeddingGemma."""
