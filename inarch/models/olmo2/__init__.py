"""OLMo 2 (OLMo team, 2024, arXiv:2501.00656) and OLMo 3 (Olmo team, 2025, arXiv:2512.13961)."""
