"""WHERE IT IS KEPT: one protocol of few domain verbs, and the stores behind it."""
