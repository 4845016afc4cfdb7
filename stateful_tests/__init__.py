"""Tests: state machines, examples, structure and reference."""
