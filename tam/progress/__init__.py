"""`tam status`: how far a run is (``survey``), in words (``words``)."""
