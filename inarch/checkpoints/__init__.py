"""Checkpoint files as our models: `io` below `formats` below `maps`. NumPy alone, no Keras."""
