"""GGUF model files: reading, writing, weight formats, and what a file says of its tokenizer and template."""
