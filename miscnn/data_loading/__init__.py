"""Reading subjects with their geometry, and writing predictions back onto it."""
