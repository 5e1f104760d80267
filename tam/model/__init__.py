"""A loaded model: its checkpoint, its prompt, its decoding, its head."""
