"""What Fairlead does, free of HTTP: the registry of models, generation, prompts and text."""
