"""Compiled calls of models, kept programs, and memory."""
