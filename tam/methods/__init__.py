"""Methods: from a cached answer to the maps of its tokens, without the model."""
