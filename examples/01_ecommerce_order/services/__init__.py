"""The four participants of an order. None of them knows of the others, or of a saga."""
