"""ESM-2 (Lin et al., 2023, doi:10.1126/science.ade2574), ESM-1b and models of DNA of their form."""
