"""Speech to text: all that stands above the decoding of one window."""
