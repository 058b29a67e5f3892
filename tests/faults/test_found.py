"""Bugs that the matrix found, each as the smallest scenario that shows it."""
