"""Readers of weight file formats, and the writer of safetensors."""
