"""Llama (Touvron et al., 2023, arXiv:2302.13971) and what has its graph: Mistral, Qwen2, Qwen3."""
