"""Many samples through a loaded model: in batches, prepared ahead, kept if the process dies. The work is handed in."""
