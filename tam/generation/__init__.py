"""Ask the model, and keep the few logits that the maps are computed from. The only stage with the model."""
