"""WHAT SHOULD HAPPEN: plain declarations of steps, workflows and retries. No I/O, no engine."""
