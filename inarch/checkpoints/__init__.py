"""Other people's files in our terms: maps, proofs, readers and writers. No Keras, no torch."""
