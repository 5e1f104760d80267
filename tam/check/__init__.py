"""`tam check`: whether what a config asks for can run here (``before``)."""
