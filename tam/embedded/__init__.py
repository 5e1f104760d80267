"""What comes along with the package: the emoji sprites, a small trained model, and the code that made them."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
LEXICON = Path(__file__).parent / "lexicon.json"
