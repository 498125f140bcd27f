"""wav2vec 2.0 (Baevski et al., 2020, arXiv:2006.11477), HuBERT (Hsu et al., 2021, 2106.07447)."""
