"""Fairlead: a local LLM server for the people who share one machine."""

__version__ = "0.1.0"
