"""The map language: config and weight maps, their proof, and values through them."""
