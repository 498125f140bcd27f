"""BART (Lewis et al., 2019, arXiv:1910.13461), mBART, PEGASUS, Marian, M2M100 and NLLB."""
