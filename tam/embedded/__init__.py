"""What comes along with the package: a small trained model, the words it can say, and the code that made them."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
LEXICON = Path(__file__).parent / "lexicon.json"
