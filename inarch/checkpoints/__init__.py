"""Checkpoint files in our terms: `io` below `formats` below `maps`. NumPy alone, no Keras."""
