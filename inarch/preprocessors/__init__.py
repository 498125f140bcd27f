"""Raw text and sound to the inputs of a model, with their lengths, windows and prompts."""
