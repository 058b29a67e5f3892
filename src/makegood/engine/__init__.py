"""WHAT HAPPENS NEXT: pure decisions over recorded events. No I/O, no clock, no randomness."""
