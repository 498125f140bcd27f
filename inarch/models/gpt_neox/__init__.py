"""GPT-NeoX (Black et al., 2022, arXiv:2204.06745) and Pythia (arXiv:2304.01373)."""
