"""Token Activation Maps: the image or video evidence behind every token that a multimodal LLM generates."""

__version__ = "0.1.0"
