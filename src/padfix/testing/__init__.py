"""Helpers for test suites: tiny models and tokenizers.
"""

from padfix.testing.tiny import CannotBuildError, architectures, is_tied, model_class, tiny_config, tiny_model
