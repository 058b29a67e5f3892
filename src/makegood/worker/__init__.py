"""WHO DOES IT: takes runs from the store, carries out what the engine decides, and commits what it records."""
