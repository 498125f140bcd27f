"""T5 (Raffel et al., 2020, arXiv:1910.10683), FLAN-T5 and mT5."""
