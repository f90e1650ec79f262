"""How each Hugging Face ``model_type`` spells its shape: one small module per family."""
