"""The networks: a file for each architecture, which records what a step computes. Knows nothing of hardware."""

from fairlead.models.registry import ARCHITECTURES, ENCODERS, ModelDescription, describe, record

__all__ = ["ARCHITECTURES", "ENCODERS", "ModelDescription", "describe", "record"]
